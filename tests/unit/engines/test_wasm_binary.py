from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.start_function import with_start
from runwasi.engines.wasm.wasm_binary import ModuleInterface, check_whole, read_interface
from runwasi.engines.wasmtime import CompilerSettings
from runwasi.engines.wasmtime_capi import wat_to_wasm

MODULE = wat_to_wasm(b"""
    (module
      (type (func (param i32 i64)))
      (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
      (import "env" "table" (table 1 2 funcref))
      (import "env" "memory" (memory 1 2 shared))
      (import "env" "global" (global (mut externref)))
      (import "env" "tag" (tag (param i32)))
      (memory (export "memory") 1)
      (func (export "_start"))
      (func (export "two") (type 0))
      (func (export "result") (result i32) (i32.const 3))
      (export "imported" (func 0)))
""")


def interface_of(module: bytes) -> ModuleInterface:
    fd = os.memfd_create("module")
    try:
        os.write(fd, module)
        return read_interface(fd)
    finally:
        os.close(fd)


def test_imports_are_read_in_order_with_their_kinds() -> None:
    imports = [(wanted.module, wanted.name, wanted.kind) for wanted in interface_of(MODULE).imports]
    assert imports == [
        ("wasi_snapshot_preview1", "proc_exit", "function"),
        ("env", "table", "table"),
        ("env", "memory", "memory"),
        ("env", "global", "global"),
        ("env", "tag", "tag"),
    ]


def test_exports_are_read_with_their_kinds() -> None:
    assert interface_of(MODULE).exports == {
        "memory": "memory",
        "_start": "function",
        "two": "function",
        "result": "function",
        "imported": "function",
    }


@pytest.mark.parametrize(
    ("function", "parameters", "results"),
    [("_start", 0, 0), ("two", 2, 0), ("result", 0, 1), ("imported", 1, 0)],
)
def test_own_and_imported_functions_are_described(function: str, parameters: int, results: int) -> None:
    signature = interface_of(MODULE).signature(function)
    assert signature is not None
    assert (signature.parameters, signature.results) == (parameters, results)


def test_types_of_newer_proposals_leave_parameters_unknown() -> None:
    module = wat_to_wasm(b'(module (type (struct)) (type $f (func)) (func (export "f") (type $f)))')
    assert interface_of(module).signature("f") is None


@pytest.mark.parametrize("size", range(8))
def test_a_file_shorter_than_its_header_is_refused(size: int) -> None:
    with pytest.raises(CannotHandle, match=f"truncated: it has {size} bytes"):
        interface_of(MODULE[:size])


@pytest.mark.parametrize("size", range(8, len(MODULE)))
def test_a_truncation_is_refused_or_falls_between_sections(size: int) -> None:
    try:
        left = interface_of(MODULE[:size]).exports
    except CannotHandle:
        return
    assert len(left) in (0, len(interface_of(MODULE).exports))


def test_another_file_is_refused_as_not_webassembly() -> None:
    with pytest.raises(CannotHandle, match=r"not a WebAssembly module \(starts with 7f 45 4c 46"):
        check_whole(b"\x7fELF\2\1\1\0 and so on")


def test_another_version_is_refused_by_number() -> None:
    with pytest.raises(CannotHandle, match="version 0x2; only version 1 exists"):
        interface_of(b"\0asm\2\0\0\0")


@given(st.binary(max_size=300))
def test_any_bytes_behind_a_header_are_read_or_refused(junk: bytes) -> None:
    try:
        interface_of(MODULE[:8] + junk)
    except CannotHandle:
        pass


@given(st.integers(8, len(MODULE) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(at: int, byte: int) -> None:
    try:
        interface = interface_of(MODULE[:at] + bytes((byte,)) + MODULE[at + 1 :])
        for name, kind in interface.exports.items():
            if kind == "function":
                interface.signature(name)
    except CannotHandle:
        pass


def test_another_function_becomes_the_start() -> None:
    changed = interface_of(with_start(MODULE, ("two",)))
    assert changed.exports == {
        "memory": "memory",
        "_start": "function",
        "result": "function",
        "imported": "function",
    }
    signature = changed.signature("_start")
    assert signature is not None
    assert signature.parameters == 2
    assert [wanted.name for wanted in changed.imports] == [
        wanted.name for wanted in interface_of(MODULE).imports
    ]


def test_several_functions_become_one_start() -> None:
    module = wat_to_wasm(b"""
        (module
          (import "env" "call" (func (param i32)))
          (func (export "_initialize") (call 0 (i32.const 1)))
          (func (export "run") (result i64 f32) (call 0 (i32.const 2)) (i64.const 3) (f32.const 4))
          (func (export "_start") unreachable))
    """)
    changed = with_start(module, ("_initialize", "run"))
    CompilerSettings().engine().compile(changed)  # it is valid
    assert interface_of(changed).exports == {"_start": "function", "run": "function"}
    signature = interface_of(changed).signature("_start")
    assert signature is not None
    assert (signature.index, signature.parameters, signature.results) == (4, 0, 0)
