from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.component_binary import ComponentNames, read_names
from runwasi.engines.wasmtime_capi import wat_to_wasm
from runwasi.engines.wasmtime_component import check

COMPONENT = wat_to_wasm(b"""
    (component
      (import "wasi:cli/stdout@0.2.3" (instance (export "t" (type (sub resource)))))
      (import "plain" (func))
      (import "own" (type (sub resource)))
      (import "core" (core module))
      (component $inner (import "wasi:hidden/inside@0.2.0" (func)) (export "f" (func 0)))
      (import "part" (component))
      (export "again" (func 0))
      (export "acme:thing/api@1.0.0" (instance 0))
      (type $string string)
      (export "text" (type $string)))
""")


def names_of(binary: bytes) -> ComponentNames:
    fd = os.memfd_create("component")
    try:
        os.write(fd, binary)
        return read_names(fd)
    finally:
        os.close(fd)


def refusal_of(text: str, function: str = "_start") -> str:
    fd = os.memfd_create("component")
    try:
        os.write(fd, wat_to_wasm(f"(component {text})".encode()))
        with pytest.raises(CannotHandle) as refusal:
            check(fd, function)
        return str(refusal.value)
    finally:
        os.close(fd)


def test_names_of_the_component_itself_are_read() -> None:
    names = names_of(COMPONENT)
    assert names.imports == ["wasi:cli/stdout@0.2.3", "plain", "own", "core", "part"]
    assert names.exports == ["again", "acme:thing/api@1.0.0", "text"]
    assert names.whole


@given(st.integers(8, len(COMPONENT) - 1), st.integers(0, 255))
def test_nothing_that_is_malformed_does_harm(at: int, byte: int) -> None:
    names_of(COMPONENT[:at] + bytes((byte,)) + COMPONENT[at + 1 :])
    names_of(COMPONENT[:at])


def test_wasi_0_3_is_told_by_the_imports_name() -> None:
    refusal = refusal_of('(import "wasi:cli/environment@0.3.0" (instance))')
    assert refusal == (
        "it imports wasi:cli/environment@0.3.0, which is not provided (WASI 0.3 is not; build it for WASI 0.2)"
    )


def test_an_import_of_nobody_is_told_before_an_export_that_is_missing() -> None:
    assert "it imports acme:thing/api, which is not provided (compose it with" in refusal_of(
        '(import "wasi:io/poll@0.2.0" (instance)) (import "acme:thing/api" (instance))'
    )


def test_an_export_of_wasi_0_3_is_told() -> None:
    refusal = refusal_of(
        '(import "wasi:io/poll@0.2.0" (instance)) (export "wasi:cli/run@0.3.0" (instance 0))'
    )
    assert refusal == "it exports wasi:cli/run@0.3.0; build it for WASI 0.2"


def test_a_component_that_is_neither_command_nor_server_is_refused_with_its_exports() -> None:
    refusal = refusal_of('(import "wasi:io/poll@0.2.0" (instance)) (export "acme:x/y" (instance 0))')
    assert refusal.startswith("it exports neither wasi:cli/run nor wasi:http/incoming-handler; name one")
    assert refusal.endswith(": it exports acme:x/y")


@pytest.mark.parametrize("section", [10, 11, 0])
def test_a_section_longer_than_the_file_is_left_to_the_compiler(section: int) -> None:
    names = names_of(COMPONENT[:8] + bytes((section,)) + b"\xff" * 9 + b"\x01")
    assert (names.imports, names.whole) == ([], False)
