"""The node that containers run on: its operator's decisions for all of them."""
