"""Core modules: what they are, import and export, and what is rewritten of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runwasi.engines import wasip1
from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm import sniff
from runwasi.engines.wasm.start_function import with_start
from runwasi.engines.wasm.wasm_binary import Reader, check_whole, interface_of, leb128, read_interface
from runwasi.images import wasm_file
from runwasi.images.image_error import ImageError
from tests.fuzz.harness import in_memory
from tests.fuzz.wasm_seeds import MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (CannotHandle,)


def run(data: bytes) -> None:
    sniff.sniff(data)
    sniff.describe(data)
    _check_file(data)
    check_whole(data)
    interface = interface_of(data)
    _check_numbers(data)
    interface.has_long_memory()
    for function in [name for name, kind in interface.exports.items() if kind == "function"][:8]:
        interface.signature(function)
    functions = wasip1.check_interface(interface, "_start")
    rewritten = interface_of(with_start(data, functions))
    assert rewritten.exports["_start"] == "function"
    assert len(rewritten.imports) == len(interface.imports)


def _check_numbers(data: bytes) -> None:
    """A number reads back as it was written."""
    number = int.from_bytes(data[8:16], "little")
    assert Reader(leb128(number)).number() == number


def _check_file(data: bytes) -> None:
    """From a file there is the same to be read, and the builder of images refuses with words."""
    fd = in_memory(data)
    try:
        read_interface(fd)
    except CannotHandle:
        pass
    try:
        wasm_file.wasm_kind(f"/proc/self/fd/{fd}")
    except ImageError:
        pass
    finally:
        os.close(fd)


def seeds() -> Iterator[bytes]:
    yield from MODULES
    yield b"(module)"
    yield b"(; a (; nested ;) comment ;) ;; and a line\n(component)"
    yield b"#!/bin/sh\n"
    yield b"\x7fELF"
