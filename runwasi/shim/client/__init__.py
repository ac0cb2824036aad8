"""Passes containerd's calls to the node daemon: a client in C if there was a compiler, otherwise in Python."""
