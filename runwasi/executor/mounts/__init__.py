"""A container's mounts: their options, sources and places, and mounting them."""
