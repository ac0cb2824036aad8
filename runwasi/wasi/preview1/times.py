"""Sets the times of files according to $fstflags."""

from __future__ import annotations

from runwasi.linux.file_calls import UTIME_NOW, UTIME_OMIT, utimensat
from runwasi.wasi.preview1 import abi
from runwasi.wasi.preview1.abi import INVAL, Errno


def set_times(fd: int, accessed: int, modified: int, flags: int, name: bytes = b"") -> None:
    """Set the times of a descriptor, or of a name in it without following it. Raises OSError, Errno."""
    if flags & ~abi.FSTFLAGS:
        raise Errno(INVAL)
    utimensat(
        fd,
        name,
        _timespec(accessed, flags & abi.ATIM, flags & abi.ATIM_NOW),
        _timespec(modified, flags & abi.MTIM, flags & abi.MTIM_NOW),
    )


def _timespec(moment: int, given: int, now: int) -> tuple[int, int]:
    if given and now:
        raise Errno(INVAL)
    if given:
        return divmod(moment, 1_000_000_000)
    return 0, UTIME_NOW if now else UTIME_OMIT
