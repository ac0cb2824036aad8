"""Reads a component's imports and exports, with the types of their functions, from wasmtime."""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_size_t, c_uint8, string_at

from runwasi.wasi.component.capi import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

KINDS = (
    "bool", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f32", "f64", "char", "string",
    "list", "record", "tuple", "variant", "enum", "option", "result", "flags", "own", "borrow",
)  # fmt: skip
"""By the number in wasmtime_component_valtype_t; futures, streams and error contexts follow: they are WASI 0.3."""

_INSTANCE, _FUNCTION, _RESOURCE = 1, 3, 4  # wasmtime_component_item_t


class Type:
    """A value type: its kind and the types of its parts (None for a case without a payload).

    A list or option has one part; a result has two, ok and err; a tuple, record or variant has one for each
    element, field or case, whose names are in `names`.
    """

    __slots__ = ("kind", "names", "parts")

    def __init__(self, kind: str, parts: Sequence[Type | None] = (), names: Sequence[str] = ()) -> None:
        self.kind = kind
        self.parts = parts
        self.names = names


class FunctionType:
    """A function's parameters, and its result or None."""

    __slots__ = ("params", "result")

    def __init__(self, params: Sequence[Type], result: Type | None) -> None:
        self.params = params
        self.result = result


class ResourceType:
    """A resource; only its name matters."""


class InstanceType(dict[str, "Item"]):
    """An interface: its functions and resources by name; anything else is None."""


if TYPE_CHECKING:
    Item = FunctionType | ResourceType | InstanceType | None


class ValType(ctypes.Structure):
    """wasmtime_component_valtype_t: the kind, and a pointer to the details."""

    _fields_ = (("kind", c_uint8), ("pointer", c_size_t))


class ExternItem(ctypes.Structure):
    """wasmtime_component_item_t: the kind, then a pointer to the details or a whole ValType."""

    _fields_ = (("kind", c_uint8), ("pointer", c_size_t), ("of_a_type", c_size_t))


class _Out(ctypes.Structure):
    """Memory for the results that a function writes; read it before the next call."""

    _fields_ = (
        ("name", c_size_t), ("name_size", c_size_t), ("extern", c_size_t), ("has_payload", c_bool),
        ("type", ValType), ("item", ExternItem),
    )  # fmt: skip


_out = _Out()
_NAME, _NAME_SIZE, _EXTERN, _HAS_PAYLOAD, _TYPE, _ITEM = (
    ctypes.addressof(_out) + member.offset
    for member in (_Out.name, _Out.name_size, _Out.extern, _Out.has_payload, _Out.type, _Out.item)
)


def imports(engine: int, component: int) -> dict[str, Item]:
    """Return a component's imports by name. Raises ValueError for types of WASI 0.3."""
    ty = lib.type(component)
    return _items(engine, ty, lib.type_import_count, lib.type_import_nth)


def exports(engine: int, component: int) -> dict[str, Item]:
    """Return a component's exports by name. Raises ValueError for types of WASI 0.3."""
    ty = lib.type(component)
    return _items(engine, ty, lib.type_export_count, lib.type_export_nth)


def _items(engine: int, owner: int, count: Callable[..., int], nth: Callable[..., bool]) -> dict[str, Item]:
    items: dict[str, Item] = {}
    for index in range(count(owner, engine)):
        nth(owner, engine, index, _NAME, _NAME_SIZE, _EXTERN)
        name = _name()
        lib.extern_type(_out.extern, _ITEM)
        items[name] = _item(engine, _out.item.kind, _out.item.pointer)
    return items


def _item(engine: int, kind: int, pointer: int) -> Item:
    if kind == _INSTANCE:
        return InstanceType(
            _items(engine, pointer, lib.instance_type_export_count, lib.instance_type_export_nth)
        )
    if kind == _FUNCTION:
        params = [_param(pointer, index) for index in range(lib.func_type_param_count(pointer))]
        return FunctionType(params, _value_type() if lib.func_type_result(pointer, _TYPE) else None)
    return ResourceType() if kind == _RESOURCE else None


def _name() -> str:
    """Read the name that a function returned."""
    return string_at(_out.name, _out.name_size).decode()


def _param(function: int, index: int) -> Type:
    lib.func_type_param_nth(function, index, _NAME, _NAME_SIZE, _TYPE)
    return _value_type()


def _value_type() -> Type:
    """Read the value type that a function returned."""
    number, pointer = _out.type.kind, _out.type.pointer
    if number >= len(KINDS):
        raise ValueError("futures and streams are WASI 0.3")
    kind = KINDS[number]
    read = _COMPOUND.get(kind)
    return read(kind, pointer) if read else Type(kind)


def _read_list(kind: str, pointer: int) -> Type:
    lib.list_type_element(pointer, _TYPE)
    return Type(kind, (_value_type(),))


def _read_option(kind: str, pointer: int) -> Type:
    lib.option_type_ty(pointer, _TYPE)
    return Type(kind, (_value_type(),))


def _read_result(kind: str, pointer: int) -> Type:
    ok = _value_type() if lib.result_type_ok(pointer, _TYPE) else None
    err = _value_type() if lib.result_type_err(pointer, _TYPE) else None
    return Type(kind, (ok, err))


def _read_tuple(kind: str, pointer: int) -> Type:
    parts = []
    for index in range(lib.tuple_type_types_count(pointer)):
        lib.tuple_type_types_nth(pointer, index, _TYPE)
        parts.append(_value_type())
    return Type(kind, parts)


def _read_record(kind: str, pointer: int) -> Type:
    parts, names = [], []
    for index in range(lib.record_type_field_count(pointer)):
        lib.record_type_field_nth(pointer, index, _NAME, _NAME_SIZE, _TYPE)
        names.append(_name())
        parts.append(_value_type())
    return Type(kind, parts, names)


def _read_variant(kind: str, pointer: int) -> Type:
    parts: list[Type | None] = []
    names = []
    for index in range(lib.variant_type_case_count(pointer)):
        lib.variant_type_case_nth(pointer, index, _NAME, _NAME_SIZE, _HAS_PAYLOAD, _TYPE)
        names.append(_name())
        parts.append(_value_type() if _out.has_payload else None)
    return Type(kind, parts, names)


_COMPOUND: dict[str, Callable[[str, int], Any]] = {
    "list": _read_list, "option": _read_option, "result": _read_result, "tuple": _read_tuple,
    "record": _read_record, "variant": _read_variant,
}  # fmt: skip
