"""The Open Container Initiative's documents as typed records. The only I/O is reading a file."""
