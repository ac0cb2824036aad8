"""Waits, with a deadline, for things that nobody announces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Seen = TypeVar("Seen")

_PAUSE_SECONDS = 0.02


def until(look: Callable[[], Seen], wanted: Callable[[Seen], object], *, seconds: float = 60) -> Seen:
    """Look every 20 ms until wanted accepts what is seen, and return that. Raises AssertionError at the deadline."""
    for seen in _looks(look, seconds):
        if wanted(seen):
            return seen
    raise AssertionError(f"after {seconds} s still: {seen!r}")


def settled(look: Callable[[], Seen], wanted: Callable[[Seen], object], *, seconds: float) -> Seen:
    """Look every 20 ms until wanted accepts what is seen, or until the deadline; return what was seen last."""
    for seen in _looks(look, seconds):
        if wanted(seen):
            break
    return seen


def _looks(look: Callable[[], Seen], seconds: float) -> Iterator[Seen]:
    """Look at least once, and for the last time after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        yield look()
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE_SECONDS)
