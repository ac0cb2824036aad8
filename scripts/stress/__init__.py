"""Runs many short tasks through a containerd of any release and runtime."""
