"""Implements the node daemon: has everything loaded, answers the shims' clients, and forks pods' servers."""
