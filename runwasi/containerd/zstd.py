"""Decompresses Zstandard with the system's libzstd, which every Debian has because dpkg needs it (zstd.h)."""

from __future__ import annotations

from ctypes import (
    CDLL,
    POINTER,
    Structure,
    addressof,
    byref,
    c_char_p,
    c_size_t,
    c_void_p,
    create_string_buffer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_OUTPUT = 1 << 20


class _Buffer(Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer: address, size, position."""

    _fields_ = (("at", c_void_p), ("size", c_size_t), ("position", c_size_t))


def _library() -> CDLL:
    try:
        library = CDLL("libzstd.so.1")
    except OSError:
        raise ValueError("libzstd.so.1 is not installed (Debian: libzstd1)") from None
    library.ZSTD_createDStream.restype = c_void_p
    library.ZSTD_freeDStream.argtypes = (c_void_p,)
    library.ZSTD_decompressStream.argtypes = (c_void_p, POINTER(_Buffer), POINTER(_Buffer))
    library.ZSTD_decompressStream.restype = c_size_t
    library.ZSTD_isError.argtypes = (c_size_t,)
    library.ZSTD_getErrorName.argtypes = (c_size_t,)
    library.ZSTD_getErrorName.restype = c_char_p
    return library


class ZstdStream:
    """A decompression stream; `ended` says whether it is at the end of a frame."""

    def __init__(self) -> None:
        """Make a stream. Raises ValueError if the library is missing."""
        self._library = _library()
        self._stream = self._library.ZSTD_createDStream()
        if not self._stream:
            raise ValueError("out of memory")
        self._output = create_string_buffer(_OUTPUT)
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._library.ZSTD_freeDStream(self._stream)

    def decompress(self, piece: bytes) -> Iterator[bytes]:
        """Decompress more input into pieces of at most 1 MiB. Raises ValueError."""
        source = create_string_buffer(piece, len(piece))
        given = _Buffer(addressof(source), len(piece), 0)
        full = False
        while given.position < given.size or full:
            made = _Buffer(addressof(self._output), _OUTPUT, 0)
            hint = self._library.ZSTD_decompressStream(self._stream, byref(made), byref(given))
            if self._library.ZSTD_isError(hint):
                raise ValueError(self._library.ZSTD_getErrorName(hint).decode())
            self.ended = hint == 0
            full = made.position == _OUTPUT and not self.ended
            yield self._output.raw[: made.position]
