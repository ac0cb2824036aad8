"""Bounds what an archive makes its reader do: no image has such headers, and none unpacks to so much.

A few bytes of gzip can stand for a gigabyte, each step back in it unpacks everything anew, and tarfile reads all of a
header at once, however long it claims to be.
"""

from __future__ import annotations

import os
from gzip import GzipFile

from runwasi.images.image_error import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Self

_GZIP_MAGIC = b"\x1f\x8b"
_OTHERS = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_MOST_AT_ONCE = 4 << 20
_HEADERS = 16 << 20
"""Bytes of an archive's headers, some thirty thousand files."""
_UNPACKED, _UNPACKED_EACH = 1 << 30, 100
"""Bytes that are unpacked of any compressed archive, and for each of its own: each step back unpacks anew."""


class BoundedFile:
    """A file, unpacked if it is compressed with gzip, as tarfile reads it.

    Once it has been asked for more than the bounds allow, each call raises ImageError.
    """

    def __init__(self, path: str) -> None:
        """Open the file. Raises OSError; ImageError if it is compressed with anything but gzip."""
        self._plain = open(path, "rb")  # noqa: SIM115  closed by __exit__
        self._file: IO[bytes] | GzipFile = self._plain
        self._headers_left: int | None = _HEADERS
        self._unpacked_left: int | None = None
        try:
            begin = self._plain.read(8)
            for magic, name in _OTHERS.items():
                if begin.startswith(magic):
                    raise ImageError(f"is compressed with {name}; only plain and gzip archives are read")
            size = self._plain.seek(0, os.SEEK_END)
            self._plain.seek(0)
        except BaseException:
            self._plain.close()
            raise
        if begin.startswith(_GZIP_MAGIC):
            self._file = GzipFile(fileobj=self._plain)
            self._unpacked_left = _UNPACKED + size * _UNPACKED_EACH

    def end_of_headers(self) -> None:
        """Say that all headers were read: what is read from now on is content."""
        self._headers_left = None

    def read(self, size: int = -1) -> bytes:
        """Read at most size bytes, which must be given. Raises ImageError."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise ImageError(f"a header has more than {_MOST_AT_ONCE} bytes")
        if self._headers_left is not None:
            self._headers_left -= size
            if self._headers_left < 0:
                raise ImageError(
                    f"its headers have more than {_HEADERS} bytes: too many files, or too long names"
                )
        self._unpack(size)
        return self._file.read(size)

    def seek(self, position: int) -> int:
        """Go to a position. Raises ImageError."""
        now = self._file.tell()
        self._unpack(position if position < now else position - now)
        return self._file.seek(position)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def _unpack(self, size: int) -> None:
        if self._unpacked_left is not None:
            self._unpacked_left -= size
            if self._unpacked_left < 0:
                raise ImageError("it unpacks to far more than an image has")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._plain.close()
