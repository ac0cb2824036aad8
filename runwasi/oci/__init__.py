"""The OCI specifications as data; no I/O but reading a file."""
