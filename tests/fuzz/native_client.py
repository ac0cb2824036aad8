"""The target in C: the native client, under libFuzzer with the sanitizers of addresses and undefined behaviour."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.fuzz.harness import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "native_client"
_SOURCE = FOLDER / "native_client.c"
_OPTIONS = ("-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all")


def build(folder: Path) -> Path:
    """Build the fuzzer with clang."""
    return _built(folder / NAME / "../native-client-fuzzer", "clang", "-fsanitize=fuzzer,address,undefined")


def build_replay(folder: Path) -> Path:
    """Build what runs the files it is given, with any compiler."""
    return _built(folder / "native-client-replay", "cc", "-fsanitize=address,undefined", "-DREPLAY")


def _built(program: Path, compiler: str, *options: str) -> Path:
    program = program.resolve()
    subprocess.run([compiler, *_OPTIONS, *options, "-o", program, _SOURCE], check=True, timeout=120)
    return program


def environment(scratch: str) -> dict[str, str]:
    """Return the environment of a fuzzer: temporary files are in the scratch folder."""
    return {**os.environ, "TMPDIR": scratch, "ASAN_OPTIONS": "detect_leaks=0"}


def seeds() -> Iterator[bytes]:
    """Yield calls as containerd makes them, and answers: all goes well, a daemon that sends away, one that hangs."""
    start = bytes((0, 3, 7, 0, 0, 1, 97, 1))  # program, three arguments, the last of them "start"
    variables = bytes((1, 1, 0, 6)) + b"/run/s"  # RUNWASI_DAEMON_SOCKET
    begun = bytes((3,)) + start + variables + bytes(8) + bytes((0, 4)) + b"stdi" + bytes(6)
    yield begun
    for kind in range(3):
        yield (
            start
            + variables
            + bytes(16)
            + bytes((5, 0, 0, 0, 0, 0, 0, 0, 5, kind, 0, 0, 0, 3, 0, 6))
            + b"unix:x"
        )
    yield bytes(64)
    yield bytes(range(256))
