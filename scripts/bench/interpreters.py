"""Measures the same commit under another Python: installs it, and runs this program in another process for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from devtools.places import BUILD, ROOT
from scripts.bench import report
from scripts.bench.measure import Result

MEASURES = ("B6", "B7", "B8", "B16")
"""The measures that depend most on the interpreter: memory."""


def measure(python: Path, options: Sequence[str]) -> list[Result]:
    """Install the work tree for an interpreter and measure; options are those of this program to hand on."""
    version = _version(python)
    prefix = BUILD / f"bench-{version}"
    environment = os.environ | {"PYTHON": str(python)}
    subprocess.run([ROOT / "scripts/install", "add", prefix], env=environment, check=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "scripts.bench", "--only", ",".join(MEASURES), "--json", file.name]
        programs = os.environ | {"RUNWASI_BIN": str(prefix / "bin")}
        subprocess.run([*command, *options], cwd=ROOT, env=programs, check=True)
        results = report.from_json(Path(file.name).read_text())
    return [named(result, version) for result in results]


def named(result: Result, version: str) -> Result:
    """Return a result that says which Python it is of."""
    return result._replace(key=f"{result.key}-py{version}", title=f"{result.title}, Python {version}")


def _version(python: Path) -> str:
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-IS", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()
