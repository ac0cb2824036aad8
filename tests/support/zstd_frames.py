"""Zstandard frames without a compressor: blocks may be stored as they are (RFC 8878 section 3.1.1)."""

from __future__ import annotations

_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK = 128 << 10
_WINDOW = 7 << 3  # 2 to the power of 10 + 7, as large as a block


def stored_as_zstd(content: bytes) -> bytes:
    """One frame of raw blocks."""
    frame = bytearray(_MAGIC + bytes((0, _WINDOW)))
    for start in range(0, len(content), _BLOCK):
        block = content[start : start + _BLOCK]
        last = start + _BLOCK >= len(content)
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return bytes(frame)
