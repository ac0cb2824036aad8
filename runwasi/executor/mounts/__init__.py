"""Makes a container's mounts: parses their options, opens their sources and places, and mounts them."""
