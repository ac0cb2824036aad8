"""Writes component values, with one function per type, made once. wasmtime owns what they allocate."""

from __future__ import annotations

import ctypes

from runwasi.engines.wasmtime_capi import room_at
from runwasi.wasi.component.capi import OUT, lib
from runwasi.wasi.component.resource_handles import new_handle
from runwasi.wasi.component.values import (
    CHAR,
    ENUM,
    FLAGS,
    LIST,
    NAME_SIZE,
    OPTION,
    RECORD,
    RESOURCE,
    RESULT,
    SCALARS,
    STRING,
    TUPLE,
    VAL_SIZE,
    VARIANT,
    Err,
    Ok,
    RecordEntry,
    Val,
    Vector,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.wit_types import Type

    Lower = Callable[[int, Any, Guest], None]
    """Writes a value at an address."""

_val_at = Val.from_address
_vector_at = Vector.from_address
_U8 = SCALARS.index("u8")
_ENTRY_SIZE = ctypes.sizeof(RecordEntry)
_ENTRY_VAL: int = RecordEntry.val.offset

_scratch = Val()
_SCRATCH = ctypes.addressof(_scratch)
"""Memory for one value on its way into its own box."""


def lowerer(ty: Type | None) -> Lower:
    """Make the function that writes values of this type; None is a case without a payload."""
    assert ty is not None
    if ty.kind in SCALARS:
        return _lower_scalar(ty.kind)
    return _LOWERERS[ty.kind](ty)


def _part(ty: Type) -> Type:
    part = ty.parts[0]
    assert part is not None
    return part


def _boxed(ty: Type | None) -> Callable[[Any, Guest], int]:
    """Make the function that puts a value of this type in a box; an absent payload has no box (0)."""
    if ty is None:
        return lambda _value, _guest: 0
    lower = lowerer(ty)

    def box(value: object, guest: Guest) -> int:
        lower(_SCRATCH, value, guest)
        return lib.val_new(_SCRATCH)  # type: ignore[no-any-return]

    return box


# --- numbers and names


def _lower_scalar(kind: str) -> Lower:
    number = SCALARS.index(kind)

    def lower_scalar(address: int, value: object, _guest: Guest) -> None:
        val = _val_at(address)
        val.kind = number
        setattr(val, kind, value)

    return lower_scalar


def _lower_char(_ty: object) -> Lower:
    def lower_char(address: int, value: str, _guest: Guest) -> None:
        val = _val_at(address)
        val.kind, val.u32 = CHAR, ord(value)

    return lower_char


_CONTENTS: int = Val.contents.offset


def _lower_name(kind: int) -> Callable[[object], Lower]:
    def lower_name(address: int, value: str, _guest: Guest) -> None:
        _val_at(address).kind = kind
        _write_name(address + _CONTENTS, value.encode())

    return lambda _ty: lower_name


def _write_name(address: int, name: bytes) -> None:
    lib.wasm_byte_vec_new(address, len(name), name)


# --- lists, records, tuples, flags: vectors that the library allocates and we fill


def _lower_list(ty: Type) -> Lower:
    element = _part(ty)
    if element.kind == "u8":
        return _lower_bytes
    lower = lowerer(element)

    def lower_list(address: int, values: Sequence[object], guest: Guest) -> None:
        size, data = _new_vector(lib.vallist_new_uninit, len(values))
        for index, value in enumerate(values):
            lower(data + index * VAL_SIZE, value, guest)
        _put_vector(address, LIST, size, data)

    return lower_list


def _lower_bytes(address: int, value: bytes, _guest: Guest) -> None:
    size, data = _new_vector(lib.vallist_new_uninit, len(value))
    if size:
        room = room_at(data, size * VAL_SIZE)
        room[::VAL_SIZE] = bytes((_U8,)) * size
        room[_CONTENTS::VAL_SIZE] = value
    _put_vector(address, LIST, size, data)


def _lower_record(ty: Type) -> Lower:
    fields = [(name.encode(), lowerer(part)) for name, part in zip(ty.names, ty.parts, strict=True)]

    def lower_record(address: int, values: Sequence[object], guest: Guest) -> None:
        size, data = _new_vector(lib.valrecord_new_uninit, len(fields))
        entry = data
        for (name, lower), value in zip(fields, values, strict=True):
            _write_name(entry, name)
            lower(entry + _ENTRY_VAL, value, guest)
            entry += _ENTRY_SIZE
        _put_vector(address, RECORD, size, data)

    return lower_record


def _lower_tuple(ty: Type) -> Lower:
    lowers = [lowerer(part) for part in ty.parts]

    def lower_tuple(address: int, values: Sequence[object], guest: Guest) -> None:
        size, data = _new_vector(lib.valtuple_new_uninit, len(lowers))
        item = data
        for lower, value in zip(lowers, values, strict=True):
            lower(item, value, guest)
            item += VAL_SIZE
        _put_vector(address, TUPLE, size, data)

    return lower_tuple


def _lower_flags(_ty: Type) -> Lower:
    def lower_flags(address: int, value: frozenset[str], _guest: Guest) -> None:
        size, data = _new_vector(lib.valflags_new_uninit, len(value))
        for index, name in enumerate(value):
            _write_name(data + index * NAME_SIZE, name.encode())
        _put_vector(address, FLAGS, size, data)

    return lower_flags


def _new_vector(new: Callable[[int, int], None], size: int) -> tuple[int, int]:
    new(OUT, size)
    vector = _vector_at(OUT)
    return vector.size, vector.data


def _put_vector(address: int, kind: int, size: int, data: int) -> None:
    val = _val_at(address)
    val.kind, val.size, val.data = kind, size, data


# --- variants, options, results


def _lower_variant(ty: Type) -> Lower:
    cases = {name: _boxed(payload) for name, payload in zip(ty.names, ty.parts, strict=True)}

    def lower_variant(address: int, value: tuple[str, object], guest: Guest) -> None:
        case, payload = value
        box = cases[case](payload, guest)
        val = _val_at(address)
        val.kind, val.variant.payload = VARIANT, box
        _write_name(address + _CONTENTS, case.encode())

    return lower_variant


def _lower_option(ty: Type) -> Lower:
    boxed = _boxed(_part(ty))

    def lower_option(address: int, value: object, guest: Guest) -> None:
        box = 0 if value is None else boxed(value, guest)
        val = _val_at(address)
        val.kind, val.pointer = OPTION, box

    return lower_option


def _lower_result(ty: Type) -> Lower:
    ok, err = (_boxed(part) for part in ty.parts)

    def lower_result(address: int, value: object, guest: Guest) -> None:
        if isinstance(value, Err):
            good, box = False, err(value.value, guest)
        else:
            good, box = True, ok(value.value if isinstance(value, Ok) else value, guest)
        val = _val_at(address)
        val.kind, val.is_ok, val.value = RESULT, good, box

    return lower_result


# --- handles


def _lower_own(_ty: object) -> Lower:
    def lower_own(address: int, value: Any, guest: Guest) -> None:
        handle = new_handle(value, guest)
        val = _val_at(address)
        val.kind, val.pointer = RESOURCE, handle

    return lower_own


_LOWERERS: dict[str, Callable[[Type], Lower]] = {
    "char": _lower_char, "string": _lower_name(STRING), "list": _lower_list, "record": _lower_record,
    "tuple": _lower_tuple, "variant": _lower_variant, "enum": _lower_name(ENUM), "option": _lower_option,
    "result": _lower_result, "flags": _lower_flags, "own": _lower_own,
}  # fmt: skip
