"""The Open Container Initiative's documents as typed records; the only I/O is reading a file."""
