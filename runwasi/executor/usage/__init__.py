"""What a container uses, read from cgroup version 1 or 2."""
