"""The clients of the node daemon, which containerd starts: in C if there was a compiler, otherwise in Python."""
