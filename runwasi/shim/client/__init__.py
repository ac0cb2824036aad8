"""The clients of the node daemon: what containerd starts, in C where a compiler was at hand, else in Python."""
