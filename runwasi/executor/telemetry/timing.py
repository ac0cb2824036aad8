"""Notes when each step of a container's start ended, for `runwasi run --timing` and `runwasi timing`.

The times are in a file of the container's folder. The parent maps it before the fork, so a child that has
entered its root, dropped its privileges and closed its descriptors can still write to it; no other fork can.
Parent, child and a later starter have an area each. This module is imported only if somebody asks.
"""

from __future__ import annotations

import os
from struct import Struct
from time import monotonic_ns, process_time_ns

from runwasi.executor.lifecycle.store import TIMING
from runwasi.linux.shared_file import SharedBytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    C = TypeVar("C")

PARENT, CHILD, STARTER = "parent", "child", "starter"
"""Who noted a step: the creating process, the container's own, or a later `runwasi start`."""

_AREAS = (PARENT, CHILD, STARTER)
_AREA = 8192
_MARK = Struct("<q56s")  # monotonic nanoseconds of the step's end, 0 for none; its name


class Mark:
    """The end of a step: who took it, its name, and when it ended in monotonic nanoseconds."""

    __slots__ = ("at", "name", "who")

    def __init__(self, who: str, name: str, at: int) -> None:
        self.who = who
        self.name = name
        self.at = at


class Timing:
    """The creating process's notes, and the child's across the fork."""

    def __init__(self) -> None:
        self._early: list[tuple[str, int]] = []
        self._areas: dict[str, _Area] = {}
        self._shared: SharedBytes | None = None

    @classmethod
    def of_this_process(cls) -> Timing:
        """Begin with the start of this process: now, less the CPU time that it has used."""
        timing = cls()
        now = monotonic_ns()
        timing._early = [("", now - process_time_ns()), ("start_interpreter", now)]
        return timing

    def keep(self, folder: str) -> None:
        """Keep the marks in a container's folder from now on, those made so far included. Raises OSError."""
        fd = os.open(f"{folder}/{TIMING}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _AREA * len(_AREAS))  # a full disk is an error here, and SIGBUS later
            shared = SharedBytes(fd, _AREA * len(_AREAS))
        finally:
            os.close(fd)
        self._shared = shared
        self._areas = {who: _Area(shared, number * _AREA) for number, who in enumerate(_AREAS)}
        for name, at in self._early:
            self._areas[PARENT].mark(name, at)

    def share_with_forks(self) -> None:
        """Let the processes that are forked from now on note steps too. Raises OSError."""
        if self._shared is not None:
            self._shared.share(with_forks=True)

    def keep_from_forks(self) -> None:
        """Keep the processes that are forked from now on from it; if that fails, they hold the file's memory."""
        if self._shared is not None:
            try:
                self._shared.share(with_forks=False)
            except OSError:
                pass  # a container that was just forked is worth more

    def close(self) -> None:
        """Note no more, and let go of the file: a server lives longer than a container and its folder."""
        self._areas = {}
        self._shared = None

    def mark(self, name: str) -> None:
        """Note that the creating process has just ended a step."""
        if self._areas:
            self._areas[PARENT].mark(name, monotonic_ns())
        else:
            self._early.append((name, monotonic_ns()))

    def marks(self) -> list[Mark]:
        """Return the marks so far, even of a container that could not be made and whose folder is gone."""
        return _marks(self._shared.bytes.raw) if self._shared is not None else []

    def timed(self, steps: tuple[Callable[[C], None], ...]) -> Iterator[Callable[[C], None]]:
        """Child side: yield the steps, and note the end of each when the next is asked for.

        The last step becomes the program, so whoever started the container notes its end.
        """
        area = self._areas[CHILD]
        area.mark("", monotonic_ns())
        for step in steps:
            yield step
            area.mark(step.__name__, monotonic_ns())


class _Area:
    """One process's part of the file."""

    def __init__(self, shared: SharedBytes, offset: int) -> None:
        self._shared = shared
        self._at = offset
        self._end = offset + _AREA

    def mark(self, name: str, at: int) -> None:
        if self._at + _MARK.size <= self._end:
            _MARK.pack_into(self._shared.bytes, self._at, at, name.encode()[: _MARK.size - 8])
            self._at += _MARK.size


def mark_start(folder: str, began: int) -> None:
    """Note, in a later `start`, when it began and that the program runs now. Raises OSError.

    Does nothing for a container whose creation was not timed.
    """
    try:
        fd = os.open(f"{folder}/{TIMING}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        marks = _MARK.pack(began, b"") + _MARK.pack(monotonic_ns(), b"start")
        os.pwrite(fd, marks, _AREA * _AREAS.index(STARTER))
    finally:
        os.close(fd)


def read_marks(folder: str) -> list[Mark]:
    """Return the marks of a container's folder, by process; the first of each has no name and says when it began.

    Raises FileNotFoundError if its start was not measured.
    """
    with open(f"{folder}/{TIMING}", "rb", 0) as file:
        return _marks(file.read())


def _marks(data: bytes) -> list[Mark]:
    marks = []
    for number, who in enumerate(_AREAS):
        area = data[number * _AREA : (number + 1) * _AREA]
        for at, name in _MARK.iter_unpack(area[: len(area) // _MARK.size * _MARK.size]):
            if at:
                marks.append(Mark(who, name.rstrip(b"\0").decode(errors="replace"), at))
    return marks
