"""Connects a process's stdin, stdout and stderr to FIFOs, files, loggers and terminals."""
