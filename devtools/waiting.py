"""Waits, with a deadline, for what nobody announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def until(look: Callable[[], Seen], wanted: Callable[[Seen], object], *, seconds: float = 60) -> Seen:
    """Look again and again until what is seen is as wanted; returns it."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if wanted(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still: {seen!r}")
        time.sleep(0.02)
