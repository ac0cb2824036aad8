"""The child's half: a list of steps from the clone to the container's program."""
