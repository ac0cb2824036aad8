"""Fails every system call of a command in turn."""
