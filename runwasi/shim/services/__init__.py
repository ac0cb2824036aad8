"""Implements the Task and Sandbox services: translates each call of containerd for the executor."""
