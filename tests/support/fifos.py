"""FIFOs that a container's streams go through."""

from __future__ import annotations

import os
from pathlib import Path


def reader_of_new_fifo(path: Path) -> int:
    """Make a FIFO and return its end for reading, which blocks once somebody has opened the other."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # before there is a writer
    os.set_blocking(reader, True)
    return reader


def writer_of_new_fifo(path: Path) -> int:
    """Make a FIFO and return an end for writing, which no reader has to be there for."""
    os.mkfifo(path)
    return os.open(path, os.O_RDWR)
