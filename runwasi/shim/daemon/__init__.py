"""The node daemon: it has everything in memory, answers what containerd's shims are called for, and forks servers."""
