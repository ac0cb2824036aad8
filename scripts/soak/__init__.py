"""Uses shims and daemon at random and for long, and checks them against a model."""
