"""The node daemon: one warm process that serves or forks the servers of all pods."""
