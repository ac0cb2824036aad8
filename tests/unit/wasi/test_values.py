"""Component values: what is written in C's form reads back as it was."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.wasi.component.capi import lib
from runwasi.wasi.component.guest import Guest
from runwasi.wasi.component.lifting import lifter
from runwasi.wasi.component.lowering import lowerer
from runwasi.wasi.component.values import VAL_SIZE, Err, Ok
from runwasi.wasi.component.wit_types import Type
from runwasi.wasi.component.world import World

STRING, U8, U32 = Type("string"), Type("u8"), Type("u32")


def _round_trip(ty: Type, value: object) -> Any:
    room = ctypes.create_string_buffer(VAL_SIZE)
    address = ctypes.addressof(room)
    guest = Guest(0, 1, World())
    lowerer(ty)(address, value, guest)
    result = lifter(ty)(address, guest)
    lib.val_delete(address)
    guest.close()
    return result


@given(st.text())
def test_strings(text: str) -> None:
    assert _round_trip(STRING, text) == text


@given(st.binary(max_size=5000))
def test_bytes(data: bytes) -> None:
    assert _round_trip(Type("list", [U8]), data) == data


@pytest.mark.parametrize(("kind", "bits", "signed"), [
    ("u8", 8, False), ("u16", 16, False), ("u32", 32, False), ("u64", 64, False),
    ("s8", 8, True), ("s16", 16, True), ("s32", 32, True), ("s64", 64, True),
])  # fmt: skip
def test_integers_to_their_limits(kind: str, bits: int, signed: bool) -> None:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    assert [_round_trip(Type(kind), value) for value in (low, high)] == [low, high]


@pytest.mark.parametrize(
    ("ty", "value"),
    [
        (Type("bool"), True),
        (Type("char"), "ß"),
        (Type("f64"), 0.1),
        (Type("list", [STRING]), ["", "two", "drei"]),
        (Type("tuple", [U32, STRING, Type("list", [U8])]), (1, "a", b"xyz")),
        (Type("record", [U32, Type("option", [STRING])], ["size", "name"]), (7, "n")),
        (Type("option", [U32]), None),
        (Type("option", [U32]), 0),
        (Type("variant", [None, STRING], ["none", "other"]), ("none", None)),
        (Type("variant", [None, STRING], ["none", "other"]), ("other", "text")),
        (Type("enum", names=["a", "b"]), "b"),
        (Type("flags", names=["read", "write"]), frozenset({"read", "write"})),
        (Type("list", [Type("list", [U8])]), [b"", b"1", b"22"]),
    ],
)
def test_values_of_all_kinds(ty: Type, value: object) -> None:
    assert _round_trip(ty, value) == value


def test_results_within_values() -> None:
    ty = Type("option", [Type("result", [Type("result", [U32, STRING]), None])])
    inner = _round_trip(ty, Ok(Ok(5)))
    assert isinstance(inner, Ok)
    assert isinstance(inner.value, Ok)
    assert inner.value.value == 5
    failed = _round_trip(ty, Ok(Err("why")))
    assert isinstance(failed.value, Err)
    assert failed.value.value == "why"
    assert isinstance(_round_trip(ty, Err()), Err)
