"""A process's stdin, stdout and stderr: FIFOs, files, loggers and terminals."""
