"""Runs core modules for the wasmtime engine, on our own WASI preview 1 (package wasi.preview1).

The library's own WASI moves each file operation to another thread, lists a folder from its beginning for every
piece, and follows no absolute link.
"""

from __future__ import annotations

import os

from runwasi.engines.engine import CannotHandle, EngineError, Module, Trap
from runwasi.engines.guest_limits import limits_of, preopens_of
from runwasi.engines.signals import end_on_signals
from runwasi.engines.wasip1 import UNSTABLE, check_imports, check_interface
from runwasi.engines.wasm.linking import import_name, libraries
from runwasi.engines.wasm.wasm_binary import read_interface
from runwasi.engines.wasmtime_capi import WasmtimeError, WasmTrap
from runwasi.engines.wasmtime_store import Linker, Store
from runwasi.wasi.preview1.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Context
    from runwasi.engines.wasmtime_capi import WasmEngine

HOST = Host()
"""The host functions for the guest of this process, or of a fork of it."""


class Core:
    """A core module with its imports and its function; ready to run after `load`."""

    def __init__(self, ctx: Context, binary_fd: int) -> None:
        """`binary_fd` is the module in binary form. Raises CannotHandle."""
        self._binary_fd = binary_fd
        interface = read_interface(binary_fd)
        needed = libraries(interface, ctx.layers)
        provided = {*UNSTABLE, *(library.name for library in needed)}
        self._calls = check_interface(interface, ctx.function, also_provided=provided)
        for library in needed:
            check_imports(library.interface, provided)
        self._imports = [
            item for module in (interface, *(one.interface for one in needed)) for item in module.imports
        ]
        self._has_long_memory = interface.has_long_memory()
        self._needed = [one.name for one in needed]

    def load(self, ctx: Context, engine: WasmEngine) -> None:
        """Load the artefacts, or compile modules without one. Raises CannotHandle."""
        self._ctx = ctx
        self._engine = engine
        layers = {import_name(layer.name): layer for layer in ctx.layers}
        try:
            self._module = self._loaded(ctx.module, self._binary_fd)
            self._libraries = [(name, self._loaded(layers[name], layers[name].fd)) for name in self._needed]
        except WasmtimeError as error:
            raise CannotHandle(error.reason()) from None
        stays = self._engine.memories_stay and not (self._libraries or self._has_long_memory)
        HOST.choose(self._imports, memory_stays=stays)

    def run(self) -> int:
        """Call its function, and return the guest's exit status. Raises Trap, EngineError."""
        limits = limits_of(self._ctx)
        store = Store(self._engine)
        end_on_signals(limits.timeout, lambda: store.limit(limits_of(self._ctx)))
        self._begin()
        try:
            if limits.fuel is not None:
                store.set_fuel(limits.fuel)
            self._instantiate(store)
            for function in self._calls:
                store.call(function)
        except WasmtimeError as error:
            if HOST.exit_code is not None:
                return HOST.exit_code & 0xFF  # proc_exit stops the guest with its own error
            if isinstance(error, WasmTrap) or error.frames:
                raise Trap(error.reason(), error.frames) from None
            raise EngineError(error.reason()) from None
        return 0

    def _instantiate(self, store: Store) -> None:
        linker = Linker(self._engine, store)
        HOST.provide(store, linker)
        for name, module in self._libraries:
            linker.add_library(name, module)
        store.instantiate(self._module, linker)

    def _begin(self) -> None:
        ctx = self._ctx
        args, env = map(os.fsencode, ctx.args), map(os.fsencode, ctx.env)
        try:
            HOST.guest.begin(list(args), list(env), preopens_of(ctx))
        except OSError as error:
            raise EngineError(
                f"cannot open the folder {error.filename} for the guest: {error.strerror}"
            ) from None

    def _loaded(self, module: Module, binary_fd: int) -> int:
        if module.precompiled_fd is not None:
            return self._engine.load(module.precompiled_fd)
        return self._engine.compile(Module(module.name, binary_fd).read())
