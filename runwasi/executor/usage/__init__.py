"""Reads what a container uses from cgroup version 1 or 2."""
