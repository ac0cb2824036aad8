"""Recognises a WebAssembly file by its first bytes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["elf", "script", "core", "component", "wat"]

SNIFF_SIZE = 4096
"""Bytes of a file to pass to `sniff`; only a .wat that starts with comments needs more than 8."""

WASM_MAGIC = b"\0asm"

CORE = b"\1\0\0\0"
"""Version 1, layer 0. Source: core specification, binary format, modules."""

COMPONENT = b"\x0d\0\1\0"
"""Version 13, layer 1. Source: component-model, Binary.md."""


def sniff(head: bytes) -> Kind | None:
    """Return the kind of a file that starts with these bytes, None for any other file.

    A wasm file of an unknown version is still "core" or "component" by its layer field (bytes 6 and 7), so that
    an engine can refuse it with a reason; so is one cut short within its header.
    """
    if head.startswith(b"\x7fELF"):
        return "elf"
    if head.startswith(b"#!"):
        return "script"
    if head.startswith(WASM_MAGIC):
        return "component" if head[6:8] == COMPONENT[2:] else "core"
    return "wat" if _starts_like_wat(head[:SNIFF_SIZE]) else None


def describe(head: bytes) -> str:
    """Describe any other file for an error: its first bytes, or that it is empty."""
    if not head:
        return "the file is empty"
    return f"starts with {head[:8].hex(' ')}"


def _starts_like_wat(head: bytes) -> bool:
    rest = _after_comments(head)
    if not rest.startswith(b"("):
        return False
    rest = _after_comments(rest[1:])
    return any(
        rest.startswith(word) and not rest[len(word) : len(word) + 1].isalnum()
        for word in (b"module", b"component")
    )


def _after_comments(text: bytes) -> bytes:
    """Skip white space, `;; line` and nested `(; block ;)` comments, as the text format defines them."""
    while True:
        text = text.lstrip(b" \t\r\n")
        if text.startswith(b";;"):
            text = text.partition(b"\n")[2]
        elif text.startswith(b"(;"):
            text = _after_block(text)
        else:
            return text


def _after_block(text: bytes) -> bytes:
    depth, at = 0, 0
    while at < len(text):
        pair = text[at : at + 2]
        if pair not in (b"(;", b";)"):
            at += 1
            continue
        depth += 1 if pair == b"(;" else -1
        at += 2
        if depth == 0:
            break
    return text[at:]
