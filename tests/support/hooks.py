"""Hooks for bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from devtools.bundle import Bundle
from devtools.waiting import until


def sleeping_hook(folder: Path, kind: str, made: Bundle) -> Callable[[], int]:
    """Give a bundle a hook that never ends; returns what waits until it runs and returns its pid.

    That is the pid as the hook sees it.
    """
    note = folder / kind
    script = f"echo $$ > {note}.part; mv {note}.part {note}; exec sleep 1000"
    made.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    made.write()
    return lambda: int(until(lambda: note.read_text() if note.exists() else "", bool))
