"""Gives a process of a container its rlimits, priorities, OOM score and seccomp filter."""
