"""The node that containers run on: what its operator has decided for all of them."""
