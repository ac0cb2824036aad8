"""Defines a fuzz target, and tries one input on it.

A target is a module of tests/fuzz/targets:

    ALLOWED     the errors that the code under test documents for bad input; any other is a crash
    run(data)   does with an input what the product does, and asserts what must hold afterwards
    seeds()     real inputs, made by the product's own code
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    T = TypeVar("T")

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus"
SECONDS = 20
"""CPU time that one input may take, far more than any needs: what hangs is a crash."""
MEMORY_KIB = 512 << 10
"""By how much one input may raise the most memory that the process ever had."""


class Target(Protocol):
    """A module of tests/fuzz/targets."""

    ALLOWED: tuple[type[BaseException], ...]

    def run(self, data: bytes) -> None:
        """Do with an input what the product does."""

    def seeds(self) -> Iterator[bytes]:
        """Yield real inputs."""


class Exceeded(Exception):
    """An input took more time or memory than any may take."""


def target_names() -> list[str]:
    """List the targets."""
    return sorted(path.stem for path in (FOLDER / "targets").glob("[!_]*.py"))


def load(name: str) -> Target:
    """Import a target."""
    return cast("Target", importlib.import_module(f"tests.fuzz.targets.{name}"))


def corpus_of(name: str) -> list[Path]:
    """List the kept inputs of a target."""
    return sorted((CORPUS / name).glob("*"))


def check(target: Target, data: bytes) -> None:
    """Run an input. Raises whatever the target does not allow, and Exceeded."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        target.run(data)
    except target.ALLOWED:
        pass
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if taken > MEMORY_KIB:
        raise Exceeded(f"{len(data)} bytes of input took {taken >> 10} MiB of memory")


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise Exceeded(f"more than {SECONDS} seconds of CPU time")


class Pieces:
    """Cuts an input into what a target needs; what is missing at its end is zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Return whether something is left."""
        return self._at < len(self._data)

    def number(self, below: int = 256) -> int:
        """Take a byte, as a number below a bound of at most 256."""
        taken = self._data[self._at : self._at + 1] or b"\0"
        self._at += 1
        return taken[0] % below

    def choice(self, among: Sequence[T]) -> T:
        """Take one of at most 256 things."""
        return among[self.number(len(among))]

    def short(self) -> bytes:
        """Take a string of up to 255 bytes that tells its length."""
        return self.take(self.number())

    def take(self, size: int) -> bytes:
        """Take so many bytes, fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(max(len(self._data) - self._at, 0))


def short(text: bytes) -> bytes:
    """Return a string as Pieces.short reads it."""
    assert len(text) < 256
    return bytes((len(text),)) + text


def in_memory(data: bytes) -> int:
    """Return a descriptor of a file in memory with this content."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    os.write(fd, data)
    return fd
