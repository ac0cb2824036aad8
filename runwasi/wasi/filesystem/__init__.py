"""wasi:filesystem: the container's folders and files."""
