"""Random and long use of shims and daemon, held against what must be."""
