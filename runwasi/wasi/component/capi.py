"""Calls wasmtime's component API directly: everything on the path of a call between a guest and its host.

wasmtime's Python package examines a function's type again for each call (about 100 us) and takes 30 ms to
import; this module examines types once, and reads and writes values in place (2 to 5 us).
Addresses are plain integers; a ctypes class describes the memory at an address.
Source: wasmtime/component/*.h and wasmtime/async.h of wasmtime 50.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p

from runwasi.engines import wasmtime_capi
from runwasi.engines.wasmtime_capi import WasmtimeError, library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_P = c_void_p

# These keep the GIL: each takes under a microsecond, less than releasing and taking the GIL would.
# name: (result, arguments); errors are owned pointers or NULL
_SHORT: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "resource_host_new": (_P, (c_bool, c_uint32, c_uint32)),
    "resource_host_delete": (None, (_P,)),
    "resource_host_rep": (c_uint32, (_P,)),
    "resource_host_to_any": (_P, (_P, _P, _P)),
    "resource_any_to_host": (_P, (_P, _P, _P)),
    "resource_type_new_host": (_P, (c_uint32,)),
    "val_new": (_P, (_P,)),
    "val_delete": (None, (_P,)),
    "vallist_new_uninit": (None, (_P, c_size_t)),
    "valtuple_new_uninit": (None, (_P, c_size_t)),
    "valrecord_new_uninit": (None, (_P, c_size_t)),
    "valflags_new_uninit": (None, (_P, c_size_t)),
    "linker_new": (_P, (_P,)),
    "linker_root": (_P, (_P,)),
    "linker_allow_shadowing": (None, (_P, c_bool)),
    "linker_add_wasip2": (_P, (_P,)),
    "linker_add_wasi_http": (_P, (_P,)),
    "linker_instance_add_instance": (_P, (_P, c_char_p, c_size_t, _P)),
    "linker_instance_add_func": (_P, (_P, c_char_p, c_size_t, _P, _P, _P)),
    "linker_instance_add_func_async": (_P, (_P, c_char_p, c_size_t, _P, _P, _P)),
    "linker_instance_add_resource": (_P, (_P, c_char_p, c_size_t, _P, _P, _P, _P)),
    "linker_instance_delete": (None, (_P,)),
    "linker_instantiate_async": (_P, (_P, _P, _P, _P, _P)),
    "instance_get_func": (c_bool, (_P, _P, _P, _P)),
    "get_export_index": (_P, (_P, _P, c_char_p, c_size_t)),
    "func_call_async": (_P, (_P, _P, _P, c_size_t, _P, c_size_t, _P)),
    "deserialize": (_P, (_P, c_char_p, c_size_t, _P)),
    "deserialize_file": (_P, (_P, c_char_p, _P)),
    # types
    "type": (_P, (_P,)),
    "type_import_count": (c_size_t, (_P, _P)),
    "type_import_nth": (c_bool, (_P, _P, c_size_t, _P, _P, _P)),
    "type_export_count": (c_size_t, (_P, _P)),
    "type_export_nth": (c_bool, (_P, _P, c_size_t, _P, _P, _P)),
    "instance_type_export_count": (c_size_t, (_P, _P)),
    "instance_type_export_nth": (c_bool, (_P, _P, c_size_t, _P, _P, _P)),
    "extern_type": (None, (_P, _P)),
    "func_type_param_count": (c_size_t, (_P,)),
    "func_type_param_nth": (c_bool, (_P, c_size_t, _P, _P, _P)),
    "func_type_result": (c_bool, (_P, _P)),
    "list_type_element": (None, (_P, _P)),
    "record_type_field_count": (c_size_t, (_P,)),
    "record_type_field_nth": (c_bool, (_P, c_size_t, _P, _P, _P)),
    "tuple_type_types_count": (c_size_t, (_P,)),
    "tuple_type_types_nth": (c_bool, (_P, c_size_t, _P)),
    "variant_type_case_count": (c_size_t, (_P,)),
    "variant_type_case_nth": (c_bool, (_P, c_size_t, _P, _P, _P, _P)),
    "option_type_ty": (None, (_P, _P)),
    "result_type_ok": (c_bool, (_P, _P)),
    "result_type_err": (c_bool, (_P, _P)),
}

# These may run the guest or take long, so they release the GIL.
_LONG: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "new": (_P, (_P, c_char_p, c_size_t, _P)),
    "linker_instantiate": (_P, (_P, _P, _P, _P)),
    "func_call": (_P, (_P, _P, _P, c_size_t, _P, c_size_t)),
}

_SHORT_OTHERS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "wasm_byte_vec_new": (None, (_P, c_size_t, c_char_p)),
    "wasmtime_error_new": (_P, (c_char_p,)),
    "wasmtime_error_delete": (None, (_P,)),
    "wasmtime_store_new": (_P, (_P, _P, _P)),
    "wasmtime_store_context": (_P, (_P,)),
    "wasmtime_context_set_fuel": (_P, (_P, c_uint64)),
    "wasmtime_context_set_wasi_http": (None, (_P,)),
}

_LONG_OTHERS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "wasmtime_store_delete": (None, (_P,)),
    "wasmtime_call_future_poll": (c_bool, (_P,)),
    "wasmtime_call_future_delete": (None, (_P,)),
}


class _Functions:
    """The library's functions as attributes, without their prefix wasmtime_component_."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        path = library()._name
        short, long = ctypes.PyDLL(path), ctypes.CDLL(path)
        for source, prefix, prototypes in (
            (short, "wasmtime_component_", _SHORT),
            (short, "", _SHORT_OTHERS),
            (long, "wasmtime_component_", _LONG),
            (long, "", _LONG_OTHERS),
        ):
            for name, (result, arguments) in prototypes.items():
                function = getattr(source, prefix + name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)


lib = _Functions()

_out = ctypes.create_string_buffer(64)
OUT = ctypes.addressof(_out)
"""Memory for the results that a function writes through pointers; read it before the next call."""

HOST_FUNCTION = ctypes.CFUNCTYPE(_P, _P, _P, _P, _P, c_size_t, _P, c_size_t)
"""data, store context, function type, arguments, their number, results, their number -> error or NULL."""

ASYNC_HOST_FUNCTION = ctypes.CFUNCTYPE(None, _P, _P, _P, _P, c_size_t, _P, c_size_t, _P, _P)
"""The same, then where to store the error, and where to store a continuation (callback, data, finalizer)."""


class Continuation(ctypes.Structure):
    """wasmtime_async_continuation_t: the callback is a CONTINUATION."""

    _fields_ = (("callback", c_size_t), ("data", c_size_t), ("finalizer", c_size_t))


CONTINUATION = ctypes.CFUNCTYPE(c_bool, _P)
"""Called with its data each time the call is polled; returns True once the results are written."""

DESTRUCTOR = ctypes.CFUNCTYPE(_P, _P, _P, c_uint32)
"""data, store context, rep -> error or NULL."""


class Pointer(ctypes.Structure):
    """A void * or size_t in memory: `Pointer.from_address(address).value`.

    Every C structure has such a class, with its members' names: `Val.from_address(address).size`. An access
    costs about 80 ns and copies nothing. Use only addresses that wasmtime returned, or of memory that we own:
    any other causes a segmentation fault.
    """

    _fields_ = (("value", c_size_t),)


def word(address: int) -> int:
    """Read the pointer or size_t at an address."""
    value: int = Pointer.from_address(address).value
    return value


def take_error(error: int) -> WasmtimeError:
    """Convert an error to an exception, and free the error."""
    exception = wasmtime_capi.exception_of(error)
    lib.wasmtime_error_delete(error)
    return exception


def function_pointer(callback: object) -> int:
    """Return the address of a callback; keep the callback alive for as long as it may be called."""
    address = ctypes.cast(callback, c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
