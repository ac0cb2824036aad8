"""Writes to files of procfs and other filesystems of the kernel's, which take a whole text at once."""

from __future__ import annotations

import os

from runwasi.linux.fd import Fd


def write_once(path: str, text: str) -> None:
    """Write a text with one write(2). Raises OSError naming the path."""
    with Fd(os.open(path, os.O_WRONLY | os.O_CLOEXEC)) as file:
        try:
            os.write(file.fileno(), text.encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"write {path}") from None
