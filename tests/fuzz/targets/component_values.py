"""Component values: of any type, what is lowered is lifted as it was."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from runwasi.wasi.component.capi import lib
from runwasi.wasi.component.guest import Guest
from runwasi.wasi.component.lifting import lifter
from runwasi.wasi.component.lowering import lowerer
from runwasi.wasi.component.values import VAL_SIZE, Err, Ok
from runwasi.wasi.component.wit_types import Type
from runwasi.wasi.component.world import World
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALLOWED = ()

_INTEGERS = {"s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32, "s64": 64, "u64": 64}
_LEAVES = (*_INTEGERS, "bool", "f64", "char", "string", "enum", "flags")
_NESTED = ("list", "record", "tuple", "variant", "option", "result")
_DEEPEST = 4


def run(data: bytes) -> None:
    pieces = Pieces(data)
    ty = _type(pieces, 0)
    value = _value(ty, pieces)
    room = ctypes.create_string_buffer(VAL_SIZE)
    address, guest = ctypes.addressof(room), Guest(0, 1, World())
    try:
        lowerer(ty)(address, value, guest)
        lifted = lifter(ty)(address, guest)
        lib.val_delete(address)
    finally:
        guest.close()
    assert _plain(lifted) == _plain(value)


def _type(pieces: Pieces, depth: int) -> Type:
    kind = pieces.choice(_LEAVES if depth == _DEEPEST else (*_LEAVES, *_NESTED))
    count = {"list": 1, "option": 1, "result": 2}.get(kind)
    if kind in ("record", "tuple", "variant"):
        count = 1 + pieces.number(4)
    names = [f"n{number}" for number in range(count or 1 + pieces.number(4))]
    if kind in ("enum", "flags"):
        return Type(kind, names=names)
    parts: list[Type | None] = [_type(pieces, depth + 1) for _ in range(count or 0)]
    if kind in ("variant", "result") and pieces.number(2):
        parts[-1] = None
    return Type(kind, parts, names)


def _value(ty: Type | None, pieces: Pieces) -> Any:
    if ty is None:
        return None
    if ty.kind in _INTEGERS:
        bits = _INTEGERS[ty.kind]
        return int.from_bytes(pieces.take(bits // 8), "little", signed=ty.kind[0] == "s")
    if ty.kind in _MAKE:
        return _MAKE[ty.kind](ty, pieces)
    return tuple(_value(part, pieces) for part in ty.parts)


def _list(ty: Type, pieces: Pieces) -> Any:
    items = [_value(ty.parts[0], pieces) for _ in range(pieces.number(8))]
    return bytes(items) if ty.parts[0] and ty.parts[0].kind == "u8" else items


def _result(ty: Type, pieces: Pieces) -> Any:
    return Ok(_value(ty.parts[0], pieces)) if pieces.number(2) else Err(_value(ty.parts[1], pieces))


def _variant(ty: Type, pieces: Pieces) -> Any:
    case = pieces.number(len(ty.names))
    return ty.names[case], _value(ty.parts[case], pieces)


_MAKE: dict[str, Callable[[Type, Pieces], Any]] = {
    "bool": lambda _ty, pieces: bool(pieces.number(2)),
    "f64": lambda _ty, pieces: pieces.number() / 7,
    "char": lambda _ty, pieces: chr(pieces.number() << 8 & 0xD700 | pieces.number()),
    "string": lambda _ty, pieces: pieces.short().decode("utf-8", "replace"),
    "enum": lambda ty, pieces: pieces.choice(ty.names),
    "flags": lambda ty, pieces: frozenset(name for name in ty.names if pieces.number(2)),
    "option": lambda ty, pieces: _value(ty.parts[0], pieces) if pieces.number(2) else None,
    "list": _list,
    "result": _result,
    "variant": _variant,
}


def _plain(value: Any) -> Any:
    """Return a value that compares by content."""
    if isinstance(value, (Ok, Err)):
        return type(value).__name__, _plain(value.value)
    if isinstance(value, (list, tuple)):
        return type(value), [_plain(item) for item in value]
    return value


def seeds() -> Iterator[bytes]:
    for kind in range(len(_LEAVES) + len(_NESTED)):
        yield bytes((kind, 1, 2, 3, 1, 0, 4, 65, 66, 67, 68, 1, 1, 9, 8, 7))
