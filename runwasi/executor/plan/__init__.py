"""Plans a process of a container from the bundle and the caller's options."""
