"""Component values: their layout in C, and their Python equivalents.

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

`lifting` reads them, `lowering` writes them. Source: wasmtime/component/val.h.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    c_bool,
    c_double,
    c_float,
    c_int8,
    c_int16,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
)

# The kinds of values. Source: wasmtime/component/val.h.
CHAR, STRING, LIST, RECORD, TUPLE, VARIANT, ENUM, OPTION, RESULT, FLAGS, RESOURCE = range(11, 22)
SCALARS = ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64")
"""Kinds 0 to 10, under the names of Val's members."""


class Vector(ctypes.Structure):
    """wasm_byte_vec_t, and the vectors of values, record entries and names."""

    _fields_ = (("size", c_size_t), ("data", c_size_t))


class _Variant(ctypes.Structure):
    """A case's name and its boxed payload, 0 for none."""

    _fields_ = (("name", Vector), ("payload", c_size_t))


class _Result(ctypes.Structure):
    _fields_ = (("is_ok", c_bool), ("value", c_size_t))


class _Contents(ctypes.Union):
    """wasmtime_component_valunion_t."""

    _anonymous_ = ("vector", "result")
    _fields_ = (
        ("bool", c_bool), ("s8", c_int8), ("u8", c_uint8), ("s16", c_int16), ("u16", c_uint16),
        ("s32", c_int32), ("u32", c_uint32), ("s64", c_int64), ("u64", c_uint64), ("f32", c_float), ("f64", c_double),
        ("vector", Vector),  # of a string, list, record, tuple, flags; an enum's name
        ("variant", _Variant),
        ("result", _Result),
        ("pointer", c_size_t),  # an option's boxed payload, 0 for none; a resource
    )  # fmt: skip


class Val(ctypes.Structure):
    """wasmtime_component_val_t: the kind, and the contents, whose layout depends on the kind."""

    _anonymous_ = ("contents",)
    _fields_ = (("kind", c_uint8), ("contents", _Contents))


class RecordEntry(ctypes.Structure):
    """wasmtime_component_valrecord_entry_t."""

    _fields_ = (("name", Vector), ("val", Val))


VAL_SIZE = ctypes.sizeof(Val)
NAME_SIZE = ctypes.sizeof(Vector)
assert (VAL_SIZE, ctypes.sizeof(RecordEntry)) == (32, 48)


class Ok:
    """The success half of a result inside another value."""

    __slots__ = ("value",)

    def __init__(self, value: object = None) -> None:
        self.value = value


class Err(Exception):
    """The error half of a result: raised by a host function, or inside another value."""

    def __init__(self, value: object = None) -> None:
        super().__init__(value)
        self.value = value
