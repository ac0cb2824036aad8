from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.engines.wasm.sniff import describe, sniff

CORE = b"\0asm\1\0\0\0"
COMPONENT = b"\0asm\x0d\0\1\0"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x7fELF\2\1\1", "elf"),
        (b"#!/bin/sh\n", "script"),
        (CORE, "core"),
        (COMPONENT, "component"),
        (b"\0asm", "core"),
        (b"\0asm\2\0\0\0", "core"),
        (b"\0asm\x0e\0\1\0", "component"),
        (b"(module)", "wat"),
        (b"(component $c", "wat"),
        (b" \n\t( module $m", "wat"),
        (b";; a comment\n(module", "wat"),
        (b"(; block (; nested ;) ;)\n(module", "wat"),
        (b"(modules)", None),
        (b"module", None),
        (b"", None),
        (b"\0as", None),
        (b"plain text", None),
        (b"(; never closed (module", None),
    ],
)
def test_kinds_are_told_by_the_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


@given(st.binary(max_size=5000))
def test_any_bytes_are_told_or_not(head: bytes) -> None:
    assert sniff(head) in ("elf", "script", "core", "component", "wat", None)


def test_other_files_are_described_by_their_bytes() -> None:
    assert describe(b"") == "the file is empty"
    assert describe(b"PK\3\4 and more") == "starts with 50 4b 03 04 20 61 6e 64"
