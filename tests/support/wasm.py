"""Modules built for tests: C with wasi-libc by Debian's clang, and .wat text."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from devtools.places import ROOT

_COMPONENTS = ROOT / "devtools" / "components"
SOURCES = Path(__file__).resolve().parent / "guests"


def compile_c(sources: Sequence[Path], module: Path, *options: str) -> Path:
    """Build a WASI preview 1 command from C files and return its path."""
    command = [
        "clang",
        "--target=wasm32-wasi",
        "-O1",
        "-Wall",
        "-Werror",
        *options,
        "-o",
        str(module),
        *map(str, sources),
    ]
    subprocess.run(command, check=True)
    return module


def grower(folder: Path) -> Path:
    """Build the guest that grows when it is told to (devtools/components/grower.c)."""
    return compile_c([_COMPONENTS / "grower.c"], folder / "grower.wasm")


def guest(folder: Path) -> Path:
    """Build the guest that can misbehave in every way (tests/support/guests/guest.c)."""
    return compile_c([SOURCES / "guest.c"], folder / "guest.wasm")
