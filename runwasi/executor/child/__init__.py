"""Runs the child's half of create and exec: a list of steps from the clone to the container's program."""
