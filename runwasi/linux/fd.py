"""Owns descriptors: each is closed once, by its last owner.

Code that keeps a descriptor holds an Fd, or None where there is none; code that only uses one takes its number.
"""

from __future__ import annotations

import os
from errno import EBADF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self


class Fd:
    """An open descriptor that its holder owns: close it, use it as a context manager, or hand it on with detach."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        """Take over an open descriptor."""
        self._number: int | None = number

    def fileno(self) -> int:
        """Return the descriptor's number, for a call that takes one. Raises OSError, EBADF, once it is closed."""
        if self._number is None:
            raise OSError(EBADF, "is closed", "the descriptor")
        return self._number

    @property
    def is_open(self) -> bool:
        """Return whether it has not been closed or handed on."""
        return self._number is not None

    def detach(self) -> int:
        """Return the number without closing it; the caller owns the descriptor."""
        number = self.fileno()
        self._number = None
        return number

    def close(self) -> None:
        """Close it unless it is closed. Raises OSError only where somebody else has closed the number.

        After any other error it is closed too (man 2 close), and nothing is lost: files that we write are not held
        this way.
        """
        number, self._number = self._number, None
        if number is None:
            return
        try:
            os.close(number)
        except OSError as error:
            if error.errno == EBADF:
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Fd({self._number})" if self.is_open else "Fd(closed)"


def owner_of(number: int | None) -> Fd | None:
    """Take over a descriptor that may be absent, as another program wrote it down."""
    return None if number is None else Fd(number)


def close_owned(fds: Iterable[Fd | None]) -> None:
    """Close the descriptors; None stands for one that was never opened."""
    for fd in fds:
        if fd is not None:
            fd.close()


def write_all(fd: int, data: bytes, path: str) -> None:
    """Write all of data to an open file. Raises OSError naming path.

    A disk that fills up takes a part without an error, which only the next write has. Source: man 2 write.
    """
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
