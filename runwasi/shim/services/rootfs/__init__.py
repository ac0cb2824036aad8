"""Mounts and unmounts the rootfs of containers, in processes that may hang without the server."""
