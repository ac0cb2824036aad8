"""A short random walk through both modes and the command line ends as its model says; `make soak` walks for long."""

from __future__ import annotations

import os
import subprocess
import sys

from devtools.places import ROOT, SESSION_VARIABLE

_SEED, _ROUNDS = 12, 6  # all surfaces, full disks, a server killed, containerd restarted


def soak(seed: int, rounds: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Walk in another process, whose session is its own."""
    environment = {name: value for name, value in os.environ.items() if name != SESSION_VARIABLE}
    return subprocess.run(
        [sys.executable, "-m", "scripts.soak", "--seed", str(seed), "--rounds", str(rounds), *more],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_random_walk_ends_as_its_model_says() -> None:
    seed = int(os.environ.get("RUNWASI_TESTS_SEED", str(_SEED)))
    done = soak(seed, _ROUNDS, "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
