"""Mounts and unmounts the rootfs of containers in separate processes, because a mount may hang."""
