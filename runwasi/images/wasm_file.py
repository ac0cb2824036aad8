"""Checks that a file is WebAssembly, and of which kind, by the outer structure of modules and components.

Checking every section's frame finds the mistakes that happen when images are built: a text file, or half a
download. The engine checks whether the code inside is valid. Sources: core specification, binary format, modules;
component-model, Binary.md.
"""

from __future__ import annotations

import mmap
import os

from runwasi.engines.wasm.sniff import COMPONENT, CORE, WASM_MAGIC, describe, sniff
from runwasi.images.image_error import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    WasmKind = Literal["core", "component"]

    Bytes = bytes | mmap.mmap

_LAST_SECTION = {"core": 13, "component": 12}


def wasm_kind(path: str) -> WasmKind:
    """Return whether a file is a core module or a component. Raises ImageError, OSError."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ImageError(f"{path}: not WebAssembly: the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _kind(content)
            except ImageError as error:
                raise ImageError(f"{path}: {error}") from None


def _kind(content: Bytes) -> WasmKind:
    if content[:4] != WASM_MAGIC:
        hint = (
            "; assemble the text first, for example with wat2wasm" if sniff(content[:4096]) == "wat" else ""
        )
        raise ImageError(f"not WebAssembly: {describe(content[:8])}{hint}")
    kinds: dict[bytes, WasmKind] = {CORE: "core", COMPONENT: "component"}
    kind = kinds.get(content[4:8])
    if kind is None:
        raise ImageError(f"WebAssembly of an unknown version: {describe(content[:8])}")
    _check_sections(content, kind)
    return kind


def _check_sections(content: Bytes, kind: WasmKind) -> None:
    for section, start, _ in sections(content):
        if section > _LAST_SECTION[kind]:
            raise ImageError(
                f"damaged WebAssembly: section {section} at byte {start} does not belong in a {kind}"
            )


def sections(content: Bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each section: number, start and end of its body. The last must end at the end of the file."""
    at = 8
    while at < len(content):
        section = content[at]
        size, body = leb128(content, at + 1)
        if body + size > len(content):
            raise ImageError(f"damaged WebAssembly: section {section} at byte {body} is cut short")
        yield section, body, body + size
        at = body + size


def leb128(content: Bytes, at: int) -> tuple[int, int]:
    """Decode an unsigned 32-bit number; return its value, and the offset of the next byte."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(content):
            raise ImageError("damaged WebAssembly: cut short in a section's size")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ImageError(f"damaged WebAssembly: a section's size at byte {at - 5} is too long")
