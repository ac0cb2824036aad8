"""Tells the time that a build writes into everything it makes, so that the same commit makes the same bytes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def source_time() -> int:
    """Return SOURCE_DATE_EPOCH, else the time of the commit, in seconds since 1970. Raises CalledProcessError.

    Source: reproducible-builds.org/specs/source-date-epoch.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout)
