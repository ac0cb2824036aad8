"""Runs components for the wasmtime engine; wasmtime.py imports this only for those.

A component whose imports the library provides runs on the library's own WASI, which is fastest. The library has
no sockets and no server for wasi:http, and its streams cannot be mixed with ours; so a component that needs
either uses our WASI (package wasi) for everything.
"""

from __future__ import annotations

import ctypes
import os

from runwasi.engines import wasmtime_capi
from runwasi.engines.annotations import NETWORK
from runwasi.engines.engine import CannotHandle, EngineError, Trap
from runwasi.engines.guest_limits import LimitsNow, limits_of, preopens_of
from runwasi.engines.procfs import with_path
from runwasi.engines.signals import end_on_signals
from runwasi.engines.wasm.component_binary import read_names
from runwasi.engines.wasm.wat import to_binary
from runwasi.engines.wasmtime_store import Store
from runwasi.wasi import interfaces
from runwasi.wasi.component import wit_types
from runwasi.wasi.component.capi import OUT, lib, take_error, word
from runwasi.wasi.component.guest import Exit, Guest, new_guest
from runwasi.wasi.component.instance_pool import pooling
from runwasi.wasi.component.lifting import lifter
from runwasi.wasi.component.linker import HostLinker, is_provided, is_version_0_2, missing, unversioned
from runwasi.wasi.component.values import VAL_SIZE, Err
from runwasi.wasi.component.wit_types import FunctionType, InstanceType
from runwasi.wasi.component.world import World
from runwasi.wasi.http.guest_call import Handler, instantiates
from runwasi.wasi.http.http_settings import HttpSettings
from runwasi.wasi.inset.inset_interface import ANSWER, HOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.engines.engine import Context
    from runwasi.engines.wasmtime_capi import WasmEngine

RUN = "wasi:cli/run"
HANDLER = "wasi:http/incoming-handler"

_NEITHER = f"it exports neither {RUN} nor {HANDLER}; name one of its functions after a #"

_OURS_ALONE = ("wasi:sockets/tcp", "wasi:sockets/udp", "wasi:sockets/ip-name-lookup")
"""Imports that need our WASI; the engine's would refuse them at run time."""

_NETWORK = ("wasi:sockets/", "wasi:http/outgoing-handler")
"""The beginnings of imports that make sockets."""


def load() -> None:
    """Do nothing: importing this module, while the host's files are in reach, was enough."""
    interfaces.load()


def check(fd: int, function: str) -> None:
    """Refuse a component with unprovided imports or without a function to call. Raises CannotHandle."""
    names = read_names(fd)
    _refuse_lacking([name for name in names.imports if not is_provided(name)])
    if function == "_start" and names.whole:
        _refuse_worlds(names.exports)


def _refuse_worlds(exports: list[str]) -> None:
    """Refuse a component that is neither a command nor a server of WASI 0.2."""
    entries = [name for name in exports if unversioned(name) in (RUN, HANDLER)]
    if entries and not any(is_version_0_2(name) for name in entries):
        raise CannotHandle(f"it exports {entries[0]}; build it for WASI 0.2")
    if not entries:
        raise CannotHandle(f"{_NEITHER}: it exports {', '.join(exports) or 'nothing'}")


def _refuse_own_names(names: Iterable[str]) -> None:
    """Refuse a component that pretends to have the inset."""
    for name in names:
        if name in (ANSWER, HOST):
            raise CannotHandle(f"it contains {name}, a name reserved for runwasi")


def _refuse_lacking(lacking: list[str]) -> None:
    if lacking:
        raise CannotHandle(f"it imports {', '.join(lacking)}, which is not provided ({_provider(lacking)})")


class Component:
    """A component that is ready to run: compiled, with its imports and its function."""

    def __init__(self, ctx: Context, engine: WasmEngine) -> None:
        """Prepare the component. Raises CannotHandle."""
        self._ctx = ctx
        self._engine = engine
        self._pointer = self._loaded(engine)
        try:
            self._imports = wit_types.imports(engine.pointer, self._pointer)
            self._exports = wit_types.exports(engine.pointer, self._pointer)
        except ValueError as error:
            raise CannotHandle(f"it uses {error}; only WASI 0.2 is provided") from None
        _refuse_lacking(missing(self._imports))
        self._inset = ANSWER in self._exports
        if ctx.module.precompiled_fd is None:
            _refuse_own_names((*self._imports, *self._exports))
        self._function = self._find_function()
        serves_http = unversioned(self._function[0]) == HANDLER
        self._http = HttpSettings(ctx) if serves_http else None
        # loaded now: the artefact is out of reach once the container is created
        self._pool = self._load_into_pool() if serves_http else None

    @property
    def serves_http(self) -> bool:
        """Whether it answers requests, for as long as the container lives."""
        return self._http is not None

    @property
    def makes_sockets(self) -> bool:
        """Whether it imports what makes sockets."""
        return any(unversioned(name).startswith(_NETWORK) for name in self._imports)

    def listen(self) -> None:
        """Begin to listen if it serves requests."""
        if self._http is not None:
            self._http.listen()

    def run(self) -> int:
        """Call its function, or serve requests. Raises Trap, EngineError."""
        return self._command() if self._http is None else self._serve(self._http)

    # --- the component

    def _loaded(self, engine: WasmEngine) -> int:
        module = self._ctx.module
        if module.precompiled_fd is not None:
            return self._deserialized(engine, module.precompiled_fd)
        binary = to_binary(module.read())
        error = lib.new(engine.pointer, binary, len(binary), OUT)
        if error:
            raise CannotHandle(take_error(error).reason())
        return word(OUT)

    def _deserialized(self, engine: WasmEngine, fd: int) -> int:
        """Map the artefact by its name in /proc, which shares its pages; copy it if that is impossible."""
        try:
            error = with_path(fd, lambda path: lib.deserialize_file(engine.pointer, path.encode(), OUT))
        except OSError:
            error = None
        else:
            if not error:
                return word(OUT)
            take_error(error)
        artefact = os.pread(fd, os.fstat(fd).st_size, 0)
        error = lib.deserialize(engine.pointer, artefact, len(artefact), OUT)
        if error:
            raise CannotHandle(take_error(error).reason())
        return word(OUT)

    def _find_function(self) -> tuple[str, str]:
        """Return the instance ("" for none) and the name of the export to call."""
        wanted = self._ctx.function
        if wanted != "_start":
            return self._find_named(wanted)
        for interface, function in ((RUN, "run"), (HANDLER, "handle")):
            for name, ty in self._exports.items():
                if unversioned(name) == interface and isinstance(ty, InstanceType):
                    return name, function
        raise CannotHandle(f"{_NEITHER}: {self._choices()}")

    def _find_named(self, wanted: str) -> tuple[str, str]:
        instance, _, function = wanted.rpartition("#")
        exports = self._exports
        if instance:
            ty = exports.get(instance)
            exports = ty if isinstance(ty, InstanceType) else {}
        found = exports.get(function)
        if not isinstance(found, FunctionType):
            raise CannotHandle(f"it exports no function {wanted}; it exports {self._choices()}")
        if found.params:
            raise CannotHandle(f"its function {wanted} takes arguments; it must take none")
        return instance, function

    def _choices(self) -> str:
        names = []
        for name, ty in self._exports.items():
            if isinstance(ty, FunctionType):
                names.append(name)
            elif isinstance(ty, InstanceType):
                names += [f"{name}#{item}" for item, kind in ty.items() if isinstance(kind, FunctionType)]
        return ", ".join(names) or "nothing"

    def _export_index(self, names: tuple[str, str]) -> int:
        instance, function = (name.encode() for name in names)
        index = lib.get_export_index(self._pointer, None, instance, len(instance)) if instance else None
        found: int = lib.get_export_index(self._pointer, index, function, len(function))
        return found

    def _world(self) -> World:
        ctx = self._ctx
        env = [(name, value) for name, _, value in (variable.partition("=") for variable in ctx.env)]
        network = NETWORK.of(ctx.annotations)
        preopens = preopens_of(ctx)
        for folder, _ in preopens:
            if not os.path.isdir(folder):
                raise EngineError(f"cannot open the folder {folder} for the guest")
        return World(ctx.args, env, ctx.cwd, preopens, network=network)

    # --- commands

    def _command(self) -> int:
        native = self._is_native()
        guest = self._native_guest() if native else self._own_guest()
        linker = HostLinker(self._engine.pointer, self._imports, native=native)
        try:
            return self._call(linker, guest)
        finally:
            guest.close()

    def _is_native(self) -> bool:
        wanted = {unversioned(name) for name in self._imports}
        off = not NETWORK.of(self._ctx.annotations)
        http = any(name.startswith("wasi:http/") for name in wanted)
        return wanted.isdisjoint(_OURS_ALONE) and not (off and http)

    def _own_guest(self) -> Guest:
        limits, ctx = limits_of(self._ctx), self._ctx
        guest = new_guest(self._engine.pointer, self._world(), limits)
        end_on_signals(limits.timeout, lambda: guest.limit(limits_of(ctx)))
        return guest

    def _native_guest(self) -> Guest:
        limits, ctx = limits_of(self._ctx), self._ctx
        store = Store(self._engine)
        end_on_signals(limits.timeout, lambda: store.limit(limits_of(ctx)))
        if limits.fuel is not None:
            store.set_fuel(limits.fuel)
        try:
            store.set_wasi(ctx.args, ctx.env, preopens_of(ctx))
        except wasmtime_capi.WasmtimeError as error:
            raise EngineError(error.reason()) from None
        lib.wasmtime_context_set_wasi_http(store.context)
        return Guest(0, store.context, self._world())

    def _call(self, linker: HostLinker, guest: Guest) -> int:
        """Instantiate, call, and convert the result to an exit status."""
        room = ctypes.create_string_buffer(64 + VAL_SIZE)
        instance = ctypes.addressof(room)
        function, result = instance + 32, instance + 64
        ty = self._function_type()
        results = 0 if ty.result is None else 1
        error = lib.linker_instantiate(linker.pointer, guest.context, self._pointer, instance)
        if not error:
            lib.instance_get_func(instance, guest.context, self._export_index(self._function), function)
            error = lib.func_call(function, guest.context, None, 0, result, results)
        if error:
            return self._ended_early(guest, error)
        if ty.result is None or ty.result.kind != "result":
            return 0
        return 1 if isinstance(lifter(ty.result)(result, guest), Err) else 0

    def _function_type(self) -> FunctionType:
        instance, function = self._function
        owner = self._exports[instance] if instance else self._exports
        assert isinstance(owner, dict)
        ty = owner[function]
        assert isinstance(ty, FunctionType)
        return ty

    def _ended_early(self, guest: Guest, error: int) -> int:
        exception = take_error(error)
        if isinstance(guest.failure, Exit):
            return guest.failure.code & 0xFF
        if guest.failure is not None:
            raise Trap(f"{type(guest.failure).__name__}: {guest.failure}", exception.frames)
        raise Trap(exception.reason(), exception.frames)

    # --- servers

    def _serve(self, http: HttpSettings) -> int:
        linker = self._server_linker()
        world = self._world()
        world.env = http.guest_env(world.env)
        handler = Handler(
            self._engine.pointer,
            self._pointer,
            linker.pointer,
            self._export_index(("", ANSWER) if self._inset else self._function),
            world,
            LimitsNow(self._ctx),
            inset=self._inset,
        )
        return http.serve(handler)

    def _load_into_pool(self) -> tuple[wasmtime_capi.WasmEngine, int] | None:
        """Load it for an engine with a pool too; None if there can be no pool, or it does not fit."""
        compiled = self._ctx.module.precompiled_fd is not None  # otherwise it would be compiled twice
        engine = pooling(self._engine) if compiled else None
        if engine is None:
            return None
        try:
            return engine, self._loaded(engine)
        except CannotHandle:  # one of its modules has more memories or tables than a slot of the pool
            return None

    def _server_linker(self) -> HostLinker:
        """Link for many guests at once, on the engine with a pool if they fit.

        Call it only after the container's start: it instantiates a guest to find out, which may run its code.
        """
        if self._pool is not None:
            engine, pointer = self._pool
            linker = HostLinker(engine.pointer, self._imports, concurrent=True)
            guest = new_guest(engine.pointer, self._world(), limits_of(self._ctx))
            if instantiates(linker.pointer, pointer, guest):
                self._engine, self._pointer = engine, pointer
                return linker
        return HostLinker(self._engine.pointer, self._imports, concurrent=True)


def _provider(lacking: list[str]) -> str:
    if any(name.startswith("wasi:") and not is_version_0_2(name) for name in lacking):
        return "WASI 0.3 is not; build it for WASI 0.2"
    if not all(name.startswith("wasi:") for name in lacking):
        return "compose it with a component that exports it, for example with wac"
    return "no engine here provides it"
