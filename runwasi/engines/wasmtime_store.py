"""A store of libwasmtime, and the linker for the core modules in it.

Nothing made here is freed: a process runs one module and ends.
"""

from __future__ import annotations

import os
from ctypes import byref, c_char_p, c_void_p

from runwasi.engines.wasmtime_capi import (
    WASM_I32,
    WASM_I64,
    WASMTIME_EXTERN_FUNC,
    Extern,
    PointerVec,
    Value,
    WasmtimeError,
    WasmtimeInstance,
    check,
    library,
    limit_store,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runwasi.engines.guest_limits import Limits
    from runwasi.engines.wasmtime_capi import WasmEngine


class Store:
    """wasmtime_store_t with its WASI: one guest, its limits and its surroundings."""

    def __init__(self, engine: WasmEngine) -> None:
        os.environ["TOKIO_WORKER_THREADS"] = "1"  # of the library's WASI; the default is a thread per CPU
        self._store = library().wasmtime_store_new(engine.pointer, None, None)
        self._context: int = library().wasmtime_store_context(self._store)
        self._instance = WasmtimeInstance()
        self._linker: Linker | None = None

    @property
    def context(self) -> int:
        """The wasmtime_context_t, which stands for the store in the component API."""
        return self._context

    def limit(self, limits: Limits) -> None:
        """Limit memories and tables, even of a running guest; see `limit_store`."""
        limit_store(self._store, limits)

    def set_fuel(self, fuel: int) -> None:
        """Let the guest execute this many instructions, roughly. Raises WasmtimeError."""
        check(library().wasmtime_context_set_fuel(self._context, fuel))

    def set_wasi(self, args: Sequence[str], env: Sequence[str], preopens: Sequence[tuple[str, str]]) -> None:
        """Set the guest's argv, env, standard streams (this process's 0, 1 and 2) and writable (host, guest) folders.

        Raises WasmtimeError if a folder cannot be opened.
        """
        config = library().wasi_config_new()
        library().wasi_config_set_argv(config, len(args), _strings(args))
        names, values = [], []
        for variable in env:
            name, _, value = variable.partition("=")
            names.append(name)
            values.append(value)
        library().wasi_config_set_env(config, len(names), _strings(names), _strings(values))
        library().wasi_config_inherit_stdin(config)
        library().wasi_config_inherit_stdout(config)
        library().wasi_config_inherit_stderr(config)
        for host, guest in preopens:
            if not library().wasi_config_preopen_dir(config, os.fsencode(host), os.fsencode(guest), True):
                raise WasmtimeError(f"cannot open the folder {host} for the guest")
        check(library().wasmtime_context_set_wasi(self._context, config))

    def instantiate(self, module: int, linker: Linker) -> None:
        """Make the instance for `call`. Raises WasmtimeError, WasmTrap."""
        self._linker = linker  # it keeps the callbacks for as long as wasm may call them
        trap = c_void_p()
        error = library().wasmtime_linker_instantiate(
            linker.pointer, self._context, module, byref(self._instance), byref(trap)
        )
        check(error, trap)

    def call(self, function: str) -> None:
        """Call an exported function without arguments; discard its results. Raises WasmTrap, WasmtimeError."""
        found = self._export(function)
        if found is None:
            raise WasmtimeError(f"the module exports no function {function}")
        signature = library().wasmtime_func_type(self._context, byref(found.func))
        count = library().wasm_functype_results(signature).contents.size
        results, trap = (Value * count)(), c_void_p()
        error = library().wasmtime_func_call(
            self._context, byref(found.func), None, 0, results, count, byref(trap)
        )
        check(error, trap)

    def _export(self, function: str) -> Extern | None:
        found, name = Extern(), function.encode()
        exists = library().wasmtime_instance_export_get(
            self._context, byref(self._instance), name, len(name), byref(found)
        )
        return found if exists and found.kind == WASMTIME_EXTERN_FUNC else None


class Linker:
    """wasmtime_linker_t: the imports for the modules of one store, by module and name."""

    def __init__(self, engine: WasmEngine, store: Store) -> None:
        self.pointer: int = library().wasmtime_linker_new(engine.pointer)
        self._context = store.context
        self._callbacks: list[object] = []

    def define(self, module: str, name: str, params: str, results: str, callback: Any) -> None:
        """Define a host function of a type that `function_type` makes. Raises WasmtimeError."""
        self._callbacks.append(callback)
        ty = function_type(params, results)
        check(
            library().wasmtime_linker_define_func_unchecked(
                self.pointer, *_sized(module), *_sized(name), ty, callback, None, None
            )
        )

    def add_library(self, name: str, module: int) -> None:
        """Instantiate a module with the definitions so far, and define its exports. Raises WasmtimeError."""
        check(library().wasmtime_linker_module(self.pointer, self._context, *_sized(name), module))


_Pointers = c_void_p * 16  # only the first are used; every other length would need its own class
_types: dict[str, int] = {}


def function_type(params: str, results: str) -> int:
    """Return the wasm_functype_t for params and results: "i" is an i32, any other letter an i64."""
    key = f"{params}:{results}"
    if key not in _types:
        _types[key] = library().wasm_functype_new(_value_types(params), _value_types(results))
    return _types[key]


def _value_types(letters: str) -> Any:
    """Make a vector of wasm_valtype_t, which wasm_functype_new will own."""
    types = [library().wasm_valtype_new(WASM_I32 if letter == "i" else WASM_I64) for letter in letters]
    vector = PointerVec()
    library().wasm_valtype_vec_new(byref(vector), len(types), _Pointers(*types))
    return byref(vector)


def _sized(name: str) -> tuple[bytes, int]:
    encoded = name.encode()
    return encoded, len(encoded)


def _strings(values: Sequence[str]) -> Any:
    return (c_char_p * len(values))(*(os.fsencode(value) for value in values))
