"""A compressed wasm layer of an image: decompressed in full, or refused, and never more of it than a bound."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import TYPE_CHECKING

from runwasi.containerd import blobs
from runwasi.containerd.containerd_error import ContainerdError
from tests.fuzz.harness import Pieces, in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (ContainerdError,)

_LIMIT = 1 << 20


def run(data: bytes) -> None:
    pieces = Pieces(data)
    how, times = pieces.number(3), 1 + pieces.number()
    content = pieces.rest()
    if how == 2:
        plain = content * times
        assert _copied(zlib.compress(plain, wbits=31), zstd=False) == plain
    else:
        _copied(content, zstd=bool(how))


def _copied(content: bytes, *, zstd: bool) -> bytes:
    fd = in_memory(content)
    try:
        copy = blobs._copy(blobs._decompressed(fd, "sha256:0", zstd=zstd), _LIMIT, "sha256:0")
        with open(copy, "rb") as file:
            return file.read()
    finally:
        os.close(fd)


def seeds() -> Iterator[bytes]:
    yield b"\0\0" + gzip.compress(b"\0asm\1\0\0\0", mtime=0)
    yield b"\1\0" + bytes.fromhex("28b52ffd0408410000 0061736d01000000 3d11b2f4".replace(" ", ""))
    yield b"\2\xff" + b"abcd" * 32
