"""Waits, with a deadline, for things that nobody announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def until(look: Callable[[], Seen], wanted: Callable[[Seen], object], *, seconds: float = 60) -> Seen:
    """Look every 20 ms until wanted accepts what is seen, and return that. Raises AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if wanted(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still: {seen!r}")
        time.sleep(0.02)
