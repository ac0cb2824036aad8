"""wasi:http: the server for incoming requests and the client for outgoing ones."""
