"""Measures B11: the first and the second start of a module of more than 10 MiB."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from devtools.bundle import make_bundle
from devtools.places import BIN
from scripts.bench.bed import Bed
from scripts.bench.goals import FIRST, SECOND
from scripts.bench.measure import Result, Samples

_FUNCTIONS = 18_000
_ROUNDS = 110  # of (x + 1) * 3 in each function: 5 bytes each
_EMPTY = "of a module with nothing in it"


def second_start(bed: Bed) -> list[Result]:
    """B11: `runwasi run` of a module that this node has not seen, and again."""
    samples: Samples = {FIRST: [], SECOND: [], _EMPTY: []}
    code = _module(_FUNCTIONS)
    small = _bundle(bed, "small", _module(1))
    _start(bed, small)
    for turn in range(bed.scale.slow_runs):
        bundle = _bundle(bed, f"large-{turn}", code + _unique(bed.id()))
        samples[FIRST].append(_start(bed, bundle))
        samples[SECOND].append(_start(bed, bundle))
        samples[_EMPTY].append(_start(bed, small))
    title = f"start of a module of {len(code) / (1 << 20):.0f} MiB"
    note = "What is left above a small module is reading and hashing the file, to know which artefact is its own."
    return [Result("B11", title, "ms", samples, bed.goals("B11", samples), note)]


def _bundle(bed: Bed, name: str, module: bytes) -> Path:
    return make_bundle(bed.folder / name, ["/large.wasm"], files={"/large.wasm": module}).path


def _start(bed: Bed, bundle: Path) -> float:
    command: list[str | Path] = [BIN / "runwasi", "--root", bed.folder / "caching-root", "run"]
    started = time.monotonic()
    subprocess.run(
        [*command, "--bundle", bundle, bed.id()], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    return (time.monotonic() - started) * 1000


def _module(functions: int) -> bytes:
    """A module of so many functions that compute something, and a `_start` that does nothing."""
    work = bytes([0x20, 0]) + bytes([0x41, 1, 0x6A, 0x41, 3, 0x6C]) * _ROUNDS + bytes([0x0B])
    bodies = [_sized(b"\0\x0b"), *[_sized(b"\0" + work)] * functions]
    kinds = _unsigned(functions + 1) + b"\0" + b"\1" * functions
    return b"".join(
        [
            b"\0asm\1\0\0\0",
            _section(1, b"\2\x60\0\0\x60\1\x7f\1\x7f"),  # () -> () and (i32) -> i32
            _section(3, kinds),
            _section(7, b"\1" + _sized(b"_start") + b"\0\0"),
            _section(10, _unsigned(len(bodies)) + b"".join(bodies)),
        ]
    )


def _unique(text: str) -> bytes:
    """A custom section that makes a module another one for every cache."""
    return _section(0, _sized(b"bench") + text.encode())


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _sized(content)


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _unsigned(value: int) -> bytes:
    """LEB128 (WebAssembly core specification, 5.2.2)."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
