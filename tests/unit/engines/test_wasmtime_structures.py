"""The structures that wasmtime fills in have the size of those that its own package makes from its headers."""

from __future__ import annotations

import ctypes

import pytest
from wasmtime import _bindings as theirs

from runwasi.engines import wasmtime_capi
from runwasi.wasi.component import capi, values, wit_types


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (wasmtime_capi.ByteVec, "wasm_byte_vec_t"),
        (wasmtime_capi.PointerVec, "wasm_frame_vec_t"),
        (wasmtime_capi.Func, "wasmtime_func_t"),
        (wasmtime_capi.Extern, "wasmtime_extern_t"),
        (wasmtime_capi.WasmtimeInstance, "wasmtime_instance_t"),
        (wasmtime_capi.Value, "wasmtime_val_t"),
        (capi.Continuation, "wasmtime_async_continuation_t"),
        (values.Val, "wasmtime_component_val_t"),
        (values.RecordEntry, "wasmtime_component_valrecord_entry_t"),
        (values.Vector, "wasmtime_component_vallist_t"),
        (wit_types.ValType, "wasmtime_component_valtype_t"),
        (wit_types.ExternItem, "wasmtime_component_item_t"),
    ],
)
def test_there_is_room_for_all_that_is_written(ours: type[ctypes.Structure], name: str) -> None:
    assert ctypes.sizeof(ours) == ctypes.sizeof(getattr(theirs, name))
