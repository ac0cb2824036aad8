"""Reads a container's resource usage from cgroup version 1 or 2."""
