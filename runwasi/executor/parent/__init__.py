"""Runs the parent's half of create and exec: claims the id, forks the child, equips it and answers it."""
