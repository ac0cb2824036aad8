"""Reads component values, with one function per type, made once."""

from __future__ import annotations

from ctypes import string_at

from runwasi.engines.wasmtime_capi import bytes_at
from runwasi.wasi.component.resource_handles import rep_of
from runwasi.wasi.component.values import NAME_SIZE, SCALARS, VAL_SIZE, Err, Ok, RecordEntry, Val, Vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.wit_types import Type

    Lift = Callable[[int, Guest], Any]
    """Reads the value at an address."""

_val_at = Val.from_address


def lifter(ty: Type | None) -> Lift:
    """Make the function that reads values of this type; absent payloads (None) read as None."""
    if ty is None:
        return lambda _address, _guest: None
    if ty.kind in SCALARS:
        member = ty.kind
        return lambda address, _guest: getattr(_val_at(address), member)
    return _LIFTERS[ty.kind](ty)


def _part(ty: Type) -> Type:
    part = ty.parts[0]
    assert part is not None
    return part


# --- strings and lists


def _text(vector: Vector | Val) -> str:
    return string_at(vector.data, vector.size).decode()


def _lift_name(_ty: object) -> Lift:
    return lambda address, _guest: _text(_val_at(address))


def _lift_char(_ty: object) -> Lift:
    return lambda address, _guest: chr(_val_at(address).u32)


def _lift_list(ty: Type) -> Lift:
    element = _part(ty)
    if element.kind == "u8":
        return _lift_bytes
    lift = lifter(element)

    def lift_list(address: int, guest: Guest) -> list[Any]:
        val = _val_at(address)
        data = val.data
        return [lift(item, guest) for item in range(data, data + val.size * VAL_SIZE, VAL_SIZE)]

    return lift_list


def _lift_bytes(address: int, _guest: Guest) -> bytes:
    """Read a list of bytes, of which each is a whole value; the byte is at offset 8."""
    val = _val_at(address)
    return bytes_at(val.data, val.size * VAL_SIZE)[8::VAL_SIZE].tobytes() if val.size else b""


def _lift_flags(_ty: Type) -> Lift:
    def lift_flags(address: int, _guest: Guest) -> frozenset[str]:
        val = _val_at(address)
        names = range(val.data, val.data + val.size * NAME_SIZE, NAME_SIZE)
        return frozenset([_text(Vector.from_address(name)) for name in names])

    return lift_flags


# --- records and tuples


def _lift_fields(types: Sequence[Type | None], stride: int, offset: int) -> Lift:
    lifts = [(lifter(ty), offset + index * stride) for index, ty in enumerate(types)]

    def lift_fields(address: int, guest: Guest) -> tuple[Any, ...]:
        data = _val_at(address).data
        return tuple([lift(data + at, guest) for lift, at in lifts])

    return lift_fields


def _lift_record(ty: Type) -> Lift:
    return _lift_fields(ty.parts, RecordEntry.val.offset + VAL_SIZE, RecordEntry.val.offset)


def _lift_tuple(ty: Type) -> Lift:
    return _lift_fields(ty.parts, VAL_SIZE, 0)


# --- variants, options, results


def _lift_variant(ty: Type) -> Lift:
    cases = {name: lifter(payload) for name, payload in zip(ty.names, ty.parts, strict=True)}

    def lift_variant(address: int, guest: Guest) -> tuple[str, Any]:
        variant = _val_at(address).variant
        case = _text(variant.name)
        return case, cases[case](variant.payload, guest) if variant.payload else None

    return lift_variant


def _lift_option(ty: Type) -> Lift:
    lift = lifter(_part(ty))

    def lift_option(address: int, guest: Guest) -> Any:
        payload = _val_at(address).pointer
        return lift(payload, guest) if payload else None

    return lift_option


def _lift_result(ty: Type) -> Lift:
    ok, err = (lifter(part) for part in ty.parts)

    def lift_result(address: int, guest: Guest) -> Ok | Err:
        val = _val_at(address)
        if val.is_ok:
            return Ok(ok(val.value, guest) if val.value else None)
        return Err(err(val.value, guest) if val.value else None)

    return lift_result


# --- handles


def _lift_own(_ty: Type) -> Lift:
    return lambda address, guest: guest.resources.pop(rep_of(_val_at(address).pointer, guest))


def _lift_borrow(_ty: Type) -> Lift:
    return lambda address, guest: guest.resources[rep_of(_val_at(address).pointer, guest)]


_LIFTERS: dict[str, Callable[[Type], Lift]] = {
    "char": _lift_char, "string": _lift_name, "list": _lift_list, "record": _lift_record, "tuple": _lift_tuple,
    "variant": _lift_variant, "enum": _lift_name, "option": _lift_option, "result": _lift_result,
    "flags": _lift_flags, "own": _lift_own, "borrow": _lift_borrow,
}  # fmt: skip
