"""wasi:io: errors, streams and waiting."""
