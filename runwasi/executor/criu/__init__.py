"""Checkpoints and restores native containers through CRIU."""
