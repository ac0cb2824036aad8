"""The provided part of WASI 0.2 agrees with WASI's own interfaces."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import pytest

from devtools.components.build import component, dummy
from runwasi.engines import wasmtime_capi
from runwasi.wasi import interfaces
from runwasi.wasi.component import wit_types
from runwasi.wasi.component.capi import OUT, lib, take_error, word
from runwasi.wasi.component.interface import Interface
from runwasi.wasi.component.linker import HostLinker, missing, unversioned
from runwasi.wasi.component.wit_types import ExternItem, FunctionType, InstanceType, ResourceType, ValType
from runwasi.wasi.inset.inset_interface import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.wasi.component.wit_types import Item

Room = TypeVar("Room", bound=ctypes.Structure)

UNSTABLE = {"network-error-code"}
"""Functions of WASI that its interfaces leave out unless asked for."""


@cache
def _engine() -> int:
    interfaces.load()
    return wasmtime_capi.WasmEngine(fuel=False, memory_reservation=None, parallel=False).pointer


@cache
def _loaded(binary: bytes) -> int:
    error = lib.new(_engine(), binary, len(binary), OUT)
    if error:
        raise take_error(error)
    return word(OUT)


def _imports(binary: bytes) -> dict[str, Item]:
    return wit_types.imports(_engine(), _loaded(binary))


@pytest.mark.parametrize("world", ["shell", "server", "command"])
def test_everything_of_a_world_is_provided(world: str) -> None:
    assert missing(_imports(dummy(world).read_bytes())) == []


@pytest.mark.parametrize("world", ["shell", "server"])
@pytest.mark.parametrize("concurrent", [False, True])
def test_everything_can_be_linked(world: str, concurrent: bool) -> None:
    linker = HostLinker(_engine(), _imports(dummy(world).read_bytes()), concurrent=concurrent)
    assert linker.pointer


def test_nothing_is_provided_that_wasi_does_not_have() -> None:
    known: dict[str, set[str]] = {}
    for world in ("shell", "server"):
        for name, ty in _imports(dummy(world).read_bytes()).items():
            assert isinstance(ty, InstanceType)
            functions = {item for item, kind in ty.items() if isinstance(kind, FunctionType)}
            known.setdefault(unversioned(name), set()).update(functions)
    for interface in Interface.by_name.values():
        if interface.name == HOST:  # is runwasi's own
            continue
        assert set(interface.functions) - UNSTABLE <= known[interface.name]


def test_types_are_read_as_they_are() -> None:
    imports = _imports(component("hello").read_bytes())
    http = imports["wasi:http/types@0.2.12"]
    assert isinstance(http, InstanceType)
    assert isinstance(http["fields"], ResourceType)
    append = http["[method]fields.append"]
    assert isinstance(append, FunctionType)
    assert [param.kind for param in append.params] == ["borrow", "string", "list"]
    assert append.result is not None
    assert append.result.kind == "result"
    ok, error = append.result.parts
    assert ok is None
    assert error is not None
    assert (error.kind, error.names) == ("variant", ["invalid-syntax", "forbidden", "immutable"])


def test_missing_imports_are_named() -> None:
    text = b"""(component (import "wasi:io/poll@0.2.0" (instance
        (export "pollable" (type (sub resource))) (export "invent" (func))))
        (import "acme:x/y" (instance)))"""
    imports = _imports(wasmtime_capi.wat_to_wasm(text))
    assert missing(imports) == ["wasi:io/poll@0.2.0#invent", "acme:x/y"]


def test_the_library_writes_no_more_than_there_is_room_for() -> None:
    """Each kind of item, and each value type, of all that a world imports, with marked memory behind the room."""
    ty = lib.type(_loaded(dummy("shell").read_bytes()))
    out = (ctypes.c_uint64 * 3)()
    name, size, extern = (ctypes.addressof(out) + 8 * index for index in range(3))
    for number in range(lib.type_import_count(ty, _engine())):
        assert lib.type_import_nth(ty, _engine(), number, name, size, extern)
        instance = _filled(lib.extern_type, out[2], ExternItem)
        for index in range(lib.instance_type_export_count(instance.pointer, _engine())):
            lib.instance_type_export_nth(instance.pointer, _engine(), index, name, size, extern)
            item = _filled(lib.extern_type, out[2], ExternItem)
            if item.kind == 3:  # a function
                _filled(lib.func_type_result, item.pointer, ValType)


def _filled(function: Callable[[int, int], object], owner: int, room: type[Room]) -> Room:
    """Let a function fill room of this type, and see that it wrote nothing behind it."""
    size = ctypes.sizeof(room)
    memory = ctypes.create_string_buffer(b"\xaa" * (size + 64), size + 64)
    function(owner, ctypes.addressof(memory))
    assert memory.raw[size:] == b"\xaa" * 64
    return room.from_buffer_copy(memory)
