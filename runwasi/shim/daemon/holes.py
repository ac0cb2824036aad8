"""Filling the holes in memory before a process is forked many times.

What was freed leaves free blocks between what lives on. A child that takes one writes to a page that it shared with
its parent until then, and gets a copy of all of it. Once the blocks are taken, what a child makes lies together, on
pages that hold nothing else.
"""

from __future__ import annotations

import sys

_HEADER = sys.getsizeof(b"")
_SMALL = 512  # bytes: up to here CPython keeps pools of blocks of one size, beyond it asks the C library
_POOL = 16 << 10
_SMALL_SIZES = tuple(range(32, _SMALL + 1, 16))
_LARGE_SIZES = (520, 600, 700, 800, 1000, 1200, 1500, 2000, 3000, 4000)
_MOST = 20_000  # objects of one size; so many holes there never are


def fill() -> list[object]:
    """Return objects that take up the free blocks, about 1 MiB; they are to be kept.

    There are no more holes of a size when one new object lies behind the other for a while.
    """
    kept: list[object] = []
    for size in _SMALL_SIZES:
        kept += _row(size, size, _POOL // size - 3)
    for size in _LARGE_SIZES:
        kept += _row(size, size + 32, 8)  # the C library's own words are between them
    return kept


def _row(size: int, farthest: int, length: int) -> list[object]:
    """Return objects of a size, the last of which, as many as length, follow one another closely."""
    made: list[object] = []
    last = following = 0
    while following < length and len(made) < _MOST:
        block = bytes(size - _HEADER) if size > _HEADER else float(size)
        following = following + 1 if 0 < id(block) - last <= farthest else 0
        last = id(block)
        made.append(block)
    return made
