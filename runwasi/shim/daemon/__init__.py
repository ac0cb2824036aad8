"""The node daemon: it has everything loaded, answers calls of containerd's shims, and forks pods' servers."""
