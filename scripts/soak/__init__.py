"""Uses shims and the node daemon at random and for a long time, and compares them with a model."""
