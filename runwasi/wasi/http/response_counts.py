"""Counts the responses of an HTTP server by their class, where `runwasi top` and `runwasi metrics` find them.

Each worker adds to numbers of its own in memory that the server's processes share. It tells nobody: a reader
looks for the memory in the server's map and reads it. The kernel allows that to processes that may trace the server.
Source: man 5 proc, /proc/[pid]/maps and /proc/[pid]/mem; man 2 ptrace, "access mode checking".
"""

from __future__ import annotations

import mmap
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Counts = memoryview[int]

FAILED = 0
"""The index of the number of guests that trapped or did not answer in time; those of 1xx to 5xx are 1 to 5."""

_MAGIC = int.from_bytes(b"rw-http1", "little")
_SHARED = b"/dev/zero (deleted)"  # what the kernel calls shared memory without a file
_LINE = 8  # numbers of a worker: a line of the CPU's cache
_SIZE = 4096
_MOST_WORKERS = _SIZE // 8 // _LINE - 1


def make_counts() -> Counts:
    """Return the memory with the numbers of all workers: 64-bit words, all 0. Make it before they are forked."""
    counts = memoryview(mmap.mmap(-1, _SIZE)).cast("Q")
    counts[0] = _MAGIC
    return counts


def counts_of(counts: Counts, worker: int) -> Counts:
    """Return the part of counts that a worker, counted from 0, adds to: FAILED and 1 to 5 are its indexes."""
    line = 1 + worker % _MOST_WORKERS
    return counts[line * _LINE : (line + 1) * _LINE]


def read_counts(pid: int) -> Sequence[int] | None:
    """Return six sums over the workers of the server whose first process this is: FAILED, then 1xx to 5xx.

    Returns None for a process that is no such server, or that we may not look at.
    """
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:
            places = [line.split(b"-", 1)[0] for line in maps if line.rstrip().endswith(_SHARED)]
        if not places:
            return None
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return next(filter(None, (_sums(memory, int(place, 16)) for place in places)), None)
    finally:
        os.close(memory)


def _sums(memory: int, place: int) -> list[int] | None:
    try:
        data = os.pread(memory, _SIZE, place)
    except OSError:
        return None
    if len(data) < _SIZE:
        return None
    numbers = memoryview(data).cast("Q")
    if numbers[0] != _MAGIC:
        return None
    return [sum(numbers[_LINE + number :: _LINE]) for number in range(6)]
