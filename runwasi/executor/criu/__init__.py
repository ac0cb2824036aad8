"""Checkpoint and restore of native containers through CRIU."""
