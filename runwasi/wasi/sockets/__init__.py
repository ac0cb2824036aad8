"""wasi:sockets: TCP, UDP and name lookup in the container's network."""
