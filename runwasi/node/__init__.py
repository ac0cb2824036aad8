"""The settings of the node: its operator's decisions for all containers."""
