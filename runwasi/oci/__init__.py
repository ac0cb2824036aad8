"""What the Open Container Initiative's specifications say, as typed records; no I/O but reading a file."""
