"""Fails a test or a session that leaves something on the machine, and ends the processes among it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import leaks


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_in_the_end(session_name: str) -> Iterator[None]:
    yield from guarded(session_name)
    for folder in Path("/run/containerd").glob(f"*/{session_name}"):
        folder.rmdir()  # of the namespace, as of any other that containerd's shims ever served


def guarded(session: str, *, but: tuple[str, ...] = ()) -> Iterator[None]:
    """Fail if anything is left of what began since the first step; lines with a part of `but` do not count."""
    before = leaks.take(session)
    yield
    leaked = leaks.since(before, session, but=but)
    for pid in leaks.pids(leaked):  # so that one test's leak is not the next one's failure
        os.kill(pid, signal.SIGKILL)
    if leaked:
        pytest.fail("left behind:\n  " + "\n  ".join(leaked), pytrace=False)
