"""Component values between their C form and Python, one pair of closures for each type, made once.

| WIT                | Python                                                                     |
|--------------------|----------------------------------------------------------------------------|
| list<u8>           | bytes (any buffer when handed to the guest)                                |
| list, tuple        | list, tuple                                                                |
| record             | tuple of its fields in order                                               |
| variant            | (case, payload); enum: the case's name; flags: a set of names              |
| option             | None or the payload                                                        |
| result             | as an argument or inside a value: Ok or Err; as a function's result: the   |
|                    | value, or raise Err                                                        |
| own, borrow        | the Python object behind the handle; an own argument leaves the guest      |

A C value is 32 bytes: its kind in the first, its contents from the eighth.
Source: wasmtime/component/val.h.
"""

from __future__ import annotations

import struct
from ctypes import string_at

from runwasi.wasi.component.capi import MEMORY, OUT, SCRATCH, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.wit_types import Type

    Lift = Callable[[int, Guest], Any]
    """Reads the value at an address."""
    Lower = Callable[[int, Any, Guest], None]
    """Writes a value at an address; what it allocates belongs to wasmtime then."""

VAL_SIZE = 32
RECORD_ENTRY_SIZE = 48
NAME_SIZE = 16

# Kinds. Source: wasmtime/component/val.h.
U8 = 2
STRING, LIST, RECORD, TUPLE, VARIANT, ENUM, OPTION, RESULT, FLAGS, RESOURCE = range(12, 22)

_u64 = struct.Struct("<Q").unpack_from
_size_and_data = struct.Struct("<QQ").unpack_from
_name_and_box = struct.Struct("<QQQ").unpack_from
_put_u64 = struct.Struct("<Q").pack_into
_put_result = struct.Struct("<B7xB7xQ").pack_into
_put_option = struct.Struct("<B7xQ").pack_into


class Ok:
    """The good half of a result inside another value."""

    __slots__ = ("value",)

    def __init__(self, value: object = None) -> None:
        self.value = value


class Err(Exception):
    """The bad half of a result: raised by a host function, or inside another value."""

    def __init__(self, value: object = None) -> None:
        super().__init__(value)
        self.value = value


_SCALARS = {
    "bool": (0, "?"), "s8": (1, "b"), "u8": (U8, "B"), "s16": (3, "h"), "u16": (4, "H"), "s32": (5, "i"),
    "u32": (6, "I"), "s64": (7, "q"), "u64": (8, "Q"), "f32": (9, "f"), "f64": (10, "d"),
}  # fmt: skip
"""The kind's number and `struct`'s letter."""


def lifter(ty: Type | None) -> Lift:
    """Make the function that reads values of this type; absent payloads (None) read as None."""
    if ty is None:
        return lambda _address, _guest: None
    if scalar := _SCALARS.get(ty.kind):
        unpack = struct.Struct("<" + scalar[1]).unpack_from
        return lambda address, _guest: unpack(MEMORY, address + 8)[0]
    return _LIFTERS[ty.kind](ty)


def lowerer(ty: Type | None) -> Lower:
    """Make the function that writes values of this type, which only a case without payload lacks."""
    assert ty is not None
    if scalar := _SCALARS.get(ty.kind):
        kind, code = scalar
        pack = struct.Struct("<B7x" + code).pack_into
        return lambda address, value, _guest: pack(MEMORY, address, kind, value)
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
        lower(SCRATCH, value, guest)
        return lib.val_new(SCRATCH)  # type: ignore[no-any-return]

    return box


# --- strings and names


def _read_name(address: int) -> str:
    size, data = _size_and_data(MEMORY, address)
    return string_at(data, size).decode()


def _write_name(address: int, kind: int, name: str) -> None:
    encoded = name.encode()
    MEMORY[address] = kind
    lib.wasm_byte_vec_new(address + 8, len(encoded), encoded)


def _lift_name(_ty: object) -> Lift:
    return lambda address, _guest: _read_name(address + 8)


def _lower_string(_ty: object) -> Lower:
    return lambda address, value, _guest: _write_name(address, STRING, value)


def _lower_enum(_ty: object) -> Lower:
    return lambda address, value, _guest: _write_name(address, ENUM, value)


# --- lists


def _lift_list(ty: Type) -> Lift:
    element = _part(ty)
    if element.kind == "u8":
        return _lift_bytes
    lift = lifter(element)

    def lift_list(address: int, guest: Guest) -> list[Any]:
        size, data = _size_and_data(MEMORY, address + 8)
        return [lift(item, guest) for item in range(data, data + size * VAL_SIZE, VAL_SIZE)]

    return lift_list


def _lift_bytes(address: int, _guest: Guest) -> bytes:
    size, data = _size_and_data(MEMORY, address + 8)
    return MEMORY[data + 8 : data + 8 + size * VAL_SIZE : VAL_SIZE].tobytes() if size else b""


def _lower_list(ty: Type) -> Lower:
    element = _part(ty)
    if element.kind == "u8":
        return _lower_bytes
    lower = lowerer(element)

    def lower_list(address: int, values: Sequence[object], guest: Guest) -> None:
        lib.vallist_new_uninit(OUT, len(values))
        size, data = _size_and_data(MEMORY, OUT)
        for index, value in enumerate(values):
            lower(data + index * VAL_SIZE, value, guest)
        _put_vector(address, LIST, size, data)

    return lower_list


_put_vector_fields = struct.Struct("<B7xQQ").pack_into


def _put_vector(address: int, kind: int, size: int, data: int) -> None:
    _put_vector_fields(MEMORY, address, kind, size, data)


def _lower_bytes(address: int, value: bytes, _guest: Guest) -> None:
    lib.vallist_new_uninit(address + 8, len(value))
    MEMORY[address] = LIST
    size, data = _size_and_data(MEMORY, address + 8)
    if size:
        end = data + size * VAL_SIZE
        MEMORY[data:end:VAL_SIZE] = bytes((U8,)) * size
        MEMORY[data + 8 : end + 8 : VAL_SIZE] = value


# --- records and tuples


def _lift_fields(types: Sequence[Type | None], stride: int, offset: int) -> Lift:
    lifts = [(lifter(ty), offset + index * stride) for index, ty in enumerate(types)]

    def lift_fields(address: int, guest: Guest) -> tuple[Any, ...]:
        data = _u64(MEMORY, address + 16)[0]
        return tuple([lift(data + at, guest) for lift, at in lifts])

    return lift_fields


def _lift_record(ty: Type) -> Lift:
    return _lift_fields(ty.parts, RECORD_ENTRY_SIZE, NAME_SIZE)


def _lift_tuple(ty: Type) -> Lift:
    return _lift_fields(ty.parts, VAL_SIZE, 0)


def _lower_record(ty: Type) -> Lower:
    fields = [(name.encode(), lowerer(part)) for name, part in zip(ty.names, ty.parts, strict=True)]

    def lower_record(address: int, values: Sequence[object], guest: Guest) -> None:
        lib.valrecord_new_uninit(OUT, len(fields))
        size, data = _size_and_data(MEMORY, OUT)
        entry = data
        for (name, lower), value in zip(fields, values, strict=True):
            lib.wasm_byte_vec_new(entry, len(name), name)
            lower(entry + NAME_SIZE, value, guest)
            entry += RECORD_ENTRY_SIZE
        _put_vector(address, RECORD, size, data)

    return lower_record


def _lower_tuple(ty: Type) -> Lower:
    lowers = [lowerer(part) for part in ty.parts]

    def lower_tuple(address: int, values: Sequence[object], guest: Guest) -> None:
        lib.valtuple_new_uninit(OUT, len(lowers))
        size, data = _size_and_data(MEMORY, OUT)
        item = data
        for lower, value in zip(lowers, values, strict=True):
            lower(item, value, guest)
            item += VAL_SIZE
        _put_vector(address, TUPLE, size, data)

    return lower_tuple


# --- variants, options, results, flags


def _lift_variant(ty: Type) -> Lift:
    cases = {name: lifter(payload) for name, payload in zip(ty.names, ty.parts, strict=True)}

    def lift_variant(address: int, guest: Guest) -> tuple[str, Any]:
        size, data, box = _name_and_box(MEMORY, address + 8)
        case = string_at(data, size).decode()
        return case, cases[case](box, guest) if box else None

    return lift_variant


def _lower_variant(ty: Type) -> Lower:
    cases = {name: _boxed(payload) for name, payload in zip(ty.names, ty.parts, strict=True)}

    def lower_variant(address: int, value: tuple[str, object], guest: Guest) -> None:
        case, payload = value
        box = cases[case](payload, guest)
        _write_name(address, VARIANT, case)
        _put_u64(MEMORY, address + 24, box)

    return lower_variant


def _lift_option(ty: Type) -> Lift:
    lift = lifter(_part(ty))

    def lift_option(address: int, guest: Guest) -> Any:
        box = _u64(MEMORY, address + 8)[0]
        return lift(box, guest) if box else None

    return lift_option


def _lower_option(ty: Type) -> Lower:
    boxed = _boxed(_part(ty))

    def lower_option(address: int, value: object, guest: Guest) -> None:
        box = 0 if value is None else boxed(value, guest)
        _put_option(MEMORY, address, OPTION, box)

    return lower_option


def _lift_result(ty: Type) -> Lift:
    ok, err = (lifter(part) for part in ty.parts)

    def lift_result(address: int, guest: Guest) -> Ok | Err:
        is_ok, box = MEMORY[address + 8], _u64(MEMORY, address + 16)[0]
        if is_ok:
            return Ok(ok(box, guest) if box else None)
        return Err(err(box, guest) if box else None)

    return lift_result


def _lower_result(ty: Type) -> Lower:
    ok, err = (_boxed(part) for part in ty.parts)

    def lower_result(address: int, value: object, guest: Guest) -> None:
        if isinstance(value, Err):
            box = err(value.value, guest)
            _put_result(MEMORY, address, RESULT, 0, box)
        else:
            box = ok(value.value if isinstance(value, Ok) else value, guest)
            _put_result(MEMORY, address, RESULT, 1, box)

    return lower_result


def _lift_flags(_ty: Type) -> Lift:
    def lift_flags(address: int, _guest: Guest) -> frozenset[str]:
        size, data = _size_and_data(MEMORY, address + 8)
        return frozenset([_read_name(data + index * NAME_SIZE) for index in range(size)])

    return lift_flags


def _lower_flags(_ty: Type) -> Lower:
    def lower_flags(address: int, value: frozenset[str], _guest: Guest) -> None:
        lib.valflags_new_uninit(OUT, len(value))
        size, data = _size_and_data(MEMORY, OUT)
        for index, name in enumerate(value):
            encoded = name.encode()
            lib.wasm_byte_vec_new(data + index * NAME_SIZE, len(encoded), encoded)
        _put_vector(address, FLAGS, size, data)

    return lower_flags


# --- characters and handles


def _lift_char(_ty: object) -> Lift:
    unpack = struct.Struct("<I").unpack_from
    return lambda address, _guest: chr(unpack(MEMORY, address + 8)[0])


def _lower_char(_ty: object) -> Lower:
    pack = struct.Struct("<B7xI").pack_into
    return lambda address, value, _guest: pack(MEMORY, address, 11, ord(value))


def _lift_own(_ty: Type) -> Lift:
    return lambda address, guest: guest.resources.pop(_rep(address, guest))


def _lift_borrow(_ty: Type) -> Lift:
    return lambda address, guest: guest.resources[_rep(address, guest)]


def _rep(address: int, guest: Guest) -> int:
    """Take the handle at an address out of the store's table and give the number we made it from."""
    error = lib.resource_any_to_host(guest.context, _u64(MEMORY, address + 8)[0], OUT)
    if error:
        raise RuntimeError("a handle is not one of ours")
    host = _u64(MEMORY, OUT)[0]
    rep: int = lib.resource_host_rep(host)
    lib.resource_host_delete(host)
    return rep


_templates: dict[tuple[int, int], int] = {}
"""C objects "own handle of type T number N", kept for small N: every new guest asks for the same ones."""

_TEMPLATE_LIMIT = 64


def _lower_own(_ty: Type) -> Lower:
    def lower_own(address: int, value: Any, guest: Guest) -> None:
        number, rep = value.RESOURCE, guest.hold(value)
        host = _templates.get((number, rep)) or _template(number, rep)
        error = lib.resource_host_to_any(guest.context, host, OUT)
        if rep > _TEMPLATE_LIMIT:
            lib.resource_host_delete(host)
        if error:
            raise RuntimeError("the store takes no more handles")
        _put_option(MEMORY, address, RESOURCE, _u64(MEMORY, OUT)[0])

    return lower_own


def _template(number: int, rep: int) -> int:
    host: int = lib.resource_host_new(True, rep, number)
    if rep <= _TEMPLATE_LIMIT:
        _templates[number, rep] = host
    return host


_LIFTERS: dict[str, Callable[[Type], Lift]] = {
    "char": _lift_char, "string": _lift_name, "list": _lift_list, "record": _lift_record, "tuple": _lift_tuple,
    "variant": _lift_variant, "enum": _lift_name, "option": _lift_option, "result": _lift_result,
    "flags": _lift_flags, "own": _lift_own, "borrow": _lift_borrow,
}  # fmt: skip

_LOWERERS: dict[str, Callable[[Type], Lower]] = {
    "char": _lower_char, "string": _lower_string, "list": _lower_list, "record": _lower_record,
    "tuple": _lower_tuple, "variant": _lower_variant, "enum": _lower_enum, "option": _lower_option,
    "result": _lower_result, "flags": _lower_flags, "own": _lower_own,
}  # fmt: skip
