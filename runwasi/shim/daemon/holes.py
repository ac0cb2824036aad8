"""Fills the holes in memory before a process is forked many times.

Freed objects leave free blocks between live ones. A child that uses one writes to a page that it shared with its
parent, and gets a copy of the whole page. Once all blocks are in use, a child's new objects are together, on pages of
their own.
"""

from __future__ import annotations

import sys

_HEADER = sys.getsizeof(b"")
_SMALL = 512  # bytes: up to this size CPython has pools of equal blocks; for more it asks the C library
_POOL = 16 << 10
_SMALL_SIZES = tuple(range(32, _SMALL + 1, 16))
_LARGE_SIZES = (520, 600, 700, 800, 1000, 1200, 1500, 2000, 3000, 4000)
_MOST = 20_000  # objects of one size; there are never so many holes


def fill() -> list[object]:
    """Return objects that fill the free blocks, about 1 MiB, to be kept alive.

    The holes of a size are full once new objects follow one another in memory for a while.
    """
    kept: list[object] = []
    for size in _SMALL_SIZES:
        kept += _row(size, size, _POOL // size - 3)
    for size in _LARGE_SIZES:
        kept += _row(size, size + 32, 8)  # the C library's own words are between them
    return kept


def _row(size: int, farthest: int, length: int) -> list[object]:
    """Return objects of a size; the last `length` of them lie closely one after another."""
    made: list[object] = []
    last = following = 0
    while following < length and len(made) < _MOST:
        block = bytes(size - _HEADER) if size > _HEADER else float(size)
        following = following + 1 if 0 < id(block) - last <= farthest else 0
        last = id(block)
        made.append(block)
    return made
