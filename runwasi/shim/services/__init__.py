"""The Task and Sandbox services: each call of containerd translated for the executor."""
