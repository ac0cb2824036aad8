"""The predecessor of preview 1, which modules of 2019 and 2020 import as wasi_unstable: its differences.

Source: wasi/phases/old/snapshot_0/witx of WebAssembly/WASI.
"""

from __future__ import annotations

from struct import Struct

from runwasi.wasi.preview1 import abi, files, paths, polling
from runwasi.wasi.preview1.abi import INVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.preview1.module_guest import Guest

_WHENCE = (abi.CUR, abi.END, abi.SET)

_FILESTAT = Struct("<QQB3xIQQQQ")
"""$filestat with 32 bits for the number of links."""
_SUBSCRIPTION = Struct("<QB7xQI4xQQH6x")
"""$subscription of a clock with an identifier before its id; a descriptor is in the identifier's place."""


def fd_seek(guest: Guest, fd: int, offset: int, whence: int, result: int) -> int:
    """Move a descriptor's position."""
    return files.fd_seek(guest, fd, offset, _WHENCE[whence], result) if whence < len(_WHENCE) else INVAL


def fd_filestat_get(guest: Guest, fd: int, result: int) -> int:
    """Return a descriptor's metadata."""
    return files.fd_filestat_get(guest, fd, result, _FILESTAT)


def path_filestat_get(guest: Guest, fd: int, lookup: int, path: int, size: int, result: int) -> int:
    """Return the metadata of the file at a path."""
    return paths.path_filestat_get(guest, fd, lookup, path, size, result, _FILESTAT)


def poll_oneoff(guest: Guest, subscriptions: int, events: int, count: int, result: int) -> int:
    """Wait until at least one of the subscriptions is due."""
    return polling.poll_oneoff(guest, subscriptions, events, count, result, _SUBSCRIPTION)
