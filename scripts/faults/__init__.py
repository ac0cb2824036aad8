"""Every system call of a command fails in turn."""
