"""process.args[0]: `path`, `path#function` and a name to be found in PATH, and the first bytes of the file there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runwasi.executor.errors import ContainerError
from runwasi.executor.workload.choose import choose, foresee
from runwasi.executor.workload.request import WorkloadRequest
from tests.fuzz.harness import Pieces, short

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (ContainerError,)

_folder = tempfile.TemporaryDirectory()
_FILES = ("app", "app.wasm", "app#run", "sub/tool", "odd\nname.wat")


def run(data: bytes) -> None:
    pieces = Pieces(data)
    name, search = (_below(pieces.short()) for _ in range(2))
    path = Path(_folder.name, pieces.choice(_FILES))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pieces.rest())
    path.chmod(0o755)
    request = WorkloadRequest([name], [f"PATH={search}"], "/", {})
    root, before = os.open(_folder.name, os.O_PATH), os.getcwd()
    os.chdir(_folder.name)
    try:
        foresee(request, root)
        choose(request, None)
    finally:
        os.chdir(before)
        os.close(root)
        path.unlink()


def _below(text: bytes) -> str:
    """Return an argument that leads nowhere out of our folder: this is not in a container. config.json has no NUL."""
    return (
        os.fsdecode(text.replace(b"\0", b"").replace(b"..", b".").replace(b":/", b":")).lstrip("/") or "app"
    )


def seeds() -> Iterator[bytes]:
    for name, search, number, content in (
        (b"./app", b"", 0, b"\x7fELF"),
        (b"app.wasm#run", b"sub:.", 1, b"\0asm\1\0\0\0"),
        (b"app#run", b".", 2, b"#!./app x"),
        (b"tool", b"sub", 3, b"#!/bin/sh\n"),
        (b"odd\nname.wat", b".", 4, b"(module)"),
        (b"./app", b"", 0, b"#!/proc/self/exe\n"),
    ):
        yield short(name) + short(search) + bytes((number,)) + content
