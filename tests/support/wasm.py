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


def large_module(salt: bytes, *, functions: int = 3000, additions: int = 1000) -> bytes:
    """A core module that takes its compiler long, and that no cache has seen when the salt is new."""
    local, add = b"\x20\x00", b"\x6a"  # local.get 0, i32.add
    body = b"\x00" + local + (local + add) * additions + b"\x0b"
    code = _leb(len(body)) + body
    return b"".join(
        (
            b"\0asm\1\0\0\0",
            _section(1, b"\x01\x60\x01\x7f\x01\x7f"),  # a type: i32 to i32
            _section(3, _leb(functions) + b"\x00" * functions),
            _section(7, b"\x01\x06_start\x00\x00"),
            _section(10, _leb(functions) + code * functions),
            _section(0, b"\x04salt" + salt),
        )
    )


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _leb(len(content)) + content


def _leb(number: int) -> bytes:
    """An unsigned LEB128."""
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])
