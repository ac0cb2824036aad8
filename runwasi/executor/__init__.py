"""A container's life: create, start, kill, pause, update, exec, delete."""
