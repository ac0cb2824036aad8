"""ttrpc's frames: containerd's small RPC protocol as bytes.

A frame is a header of 10 bytes, big endian, and up to 4 MiB of data:

    length u32 | stream u32 | type u8 | flags u8        data

Types are Request 1, Response 2 and Data 3; a unary call is one Request, answered by one Response on the same
stream. Streams of a client are odd and strictly increasing. Source: containerd/ttrpc PROTOCOL.md.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

REQUEST, RESPONSE, DATA = 1, 2, 3
MAX_LENGTH = 4 << 20
HEADER = Struct(">IIBB")


def frame(stream: int, kind: int, data: bytes) -> bytes:
    """Return a frame without flags, as every unary message is."""
    return HEADER.pack(len(data), stream, kind, 0) + data


class FrameDecoder:
    """Splits a byte stream into frames; buffers at most one incomplete frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def __len__(self) -> int:
        """Return how many bytes are held."""
        return len(self._buffer)

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Continue where the program that we replace stopped."""
        self._buffer += bytes.fromhex(state["buffer"])
        self._skip = state["skip"]

    def state(self) -> dict[str, Any]:
        """Return the state from which another program continues."""
        return {"buffer": self._buffer.hex(), "skip": self._skip}

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
        """Take the next bytes; yield (stream, type, data) for each frame, with data None if it is too long."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            length, stream, kind, _flags = HEADER.unpack_from(self._buffer)
            if length > MAX_LENGTH:
                present = len(self._buffer) - HEADER.size
                self._skip = max(length - present, 0)
                del self._buffer[: HEADER.size + length]
                yield stream, kind, None
                continue
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[HEADER.size : end])
            del self._buffer[:end]
            yield stream, kind, body
