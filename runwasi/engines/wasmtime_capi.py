"""The part of libwasmtime's C API that running a core module takes, by ctypes.

The wasmtime package brings the library; its Python half costs 30 ms and 8 MiB to import, which would be most
of a container's start, so it comes in for components only. Nothing made here is freed: a process runs one
module and ends.
Source: wasmtime/*.h of the C API; checked against wasmtime 50.
"""

from __future__ import annotations

import os
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
    string_at,
)
from importlib.machinery import PathFinder

from runwasi.engines.engine import EngineMissing
from runwasi.engines.procfs import with_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runwasi.engines.guest_limits import Limits

WASMTIME_EXTERN_FUNC = 0
WASM_I32 = 0


class ByteVec(Structure):
    """wasm_byte_vec_t, also wasm_name_t and wasm_message_t."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))

    def take(self) -> bytes:
        """Copy the bytes out; the library's own stay where they are."""
        return string_at(self.data, self.size) if self.size else b""


class PointerVec(Structure):
    """wasm_frame_vec_t and wasm_valtype_vec_t."""

    _fields_ = (("size", c_size_t), ("data", POINTER(c_void_p)))


class Func(Structure):
    """wasmtime_func_t."""

    _fields_ = (("store_id", c_uint64), ("private", c_void_p))


class Extern(Structure):
    """wasmtime_extern_t; of its union only the function is used, and none of the others is larger."""

    _fields_ = (("kind", c_uint8), ("func", Func), ("rest", c_uint64))


class Instance(Structure):
    """wasmtime_instance_t."""

    _fields_ = (("store_id", c_uint64), ("private", c_size_t))


class Value(Structure):
    """wasmtime_val_t with an i32 in it; the kind is one byte, padded, and the union three words."""

    _fields_ = (("kind", c_uint64), ("i32", c_int32), ("rest", c_uint64 * 2))


assert sizeof(Extern) == sizeof(Value) == 32

Callback = CFUNCTYPE(c_void_p, c_void_p, c_void_p, POINTER(Value), c_size_t, c_void_p, c_size_t)
"""wasmtime_func_callback_t: (env, caller, arguments, how many, results, how many) -> trap or NULL."""

_P = c_void_p
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    # name: (result, arguments); pointers to opaque types are c_void_p, and so is wasmtime_error_t *
    "wasm_config_new": (_P, ()),
    "wasm_engine_new_with_config": (_P, (_P,)),
    "wasmtime_config_consume_fuel_set": (None, (_P, c_bool)),
    "wasmtime_config_memory_reservation_set": (None, (_P, c_uint64)),
    "wasmtime_config_memory_guard_size_set": (None, (_P, c_uint64)),
    "wasmtime_config_memory_reservation_for_growth_set": (None, (_P, c_uint64)),
    "wasmtime_config_parallel_compilation_set": (None, (_P, c_bool)),
    "wasmtime_config_concurrency_support_set": (None, (_P, c_bool)),
    "wasmtime_wat2wasm": (_P, (c_char_p, c_size_t, POINTER(ByteVec))),
    "wasmtime_module_new": (_P, (_P, c_char_p, c_size_t, POINTER(_P))),
    "wasmtime_module_serialize": (_P, (_P, POINTER(ByteVec))),
    "wasmtime_module_deserialize": (_P, (_P, c_char_p, c_size_t, POINTER(_P))),
    "wasmtime_module_deserialize_file": (_P, (_P, c_char_p, POINTER(_P))),
    "wasmtime_component_new": (_P, (_P, c_char_p, c_size_t, POINTER(_P))),
    "wasmtime_component_serialize": (_P, (_P, POINTER(ByteVec))),
    "wasmtime_store_new": (_P, (_P, _P, _P)),
    "wasmtime_store_context": (_P, (_P,)),
    "wasmtime_store_limiter": (None, (_P, c_int64, c_int64, c_int64, c_int64, c_int64)),
    "wasmtime_context_set_fuel": (_P, (_P, c_uint64)),
    "wasmtime_context_set_wasi": (_P, (_P, _P)),
    "wasi_config_new": (_P, ()),
    "wasi_config_set_argv": (c_bool, (_P, c_size_t, POINTER(c_char_p))),
    "wasi_config_set_env": (c_bool, (_P, c_size_t, POINTER(c_char_p), POINTER(c_char_p))),
    "wasi_config_inherit_stdin": (None, (_P,)),
    "wasi_config_inherit_stdout": (None, (_P,)),
    "wasi_config_inherit_stderr": (None, (_P,)),
    "wasi_config_preopen_dir": (c_bool, (_P, c_char_p, c_char_p, c_bool)),
    "wasmtime_linker_new": (_P, (_P,)),
    "wasmtime_linker_define_wasi": (_P, (_P,)),
    "wasmtime_linker_allow_shadowing": (None, (_P, c_bool)),
    "wasmtime_linker_define_func": (_P, (_P, c_char_p, c_size_t, c_char_p, c_size_t, _P, Callback, _P, _P)),
    "wasmtime_linker_module": (_P, (_P, _P, c_char_p, c_size_t, _P)),
    "wasmtime_linker_instantiate": (_P, (_P, _P, _P, POINTER(Instance), POINTER(_P))),
    "wasmtime_instance_export_get": (c_bool, (_P, POINTER(Instance), c_char_p, c_size_t, POINTER(Extern))),
    "wasmtime_func_call": (_P, (_P, POINTER(Func), _P, c_size_t, _P, c_size_t, POINTER(_P))),
    "wasmtime_func_type": (_P, (_P, POINTER(Func))),
    "wasm_functype_new": (_P, (POINTER(PointerVec), POINTER(PointerVec))),
    "wasm_functype_results": (POINTER(PointerVec), (_P,)),
    "wasm_valtype_new": (_P, (c_uint8,)),
    "wasm_valtype_vec_new": (None, (POINTER(PointerVec), c_size_t, POINTER(_P))),
    "wasmtime_error_message": (None, (_P, POINTER(ByteVec))),
    "wasmtime_error_wasm_trace": (None, (_P, POINTER(PointerVec))),
    "wasmtime_trap_new": (_P, (c_char_p, c_size_t)),
    "wasm_trap_message": (None, (_P, POINTER(ByteVec))),
    "wasm_trap_trace": (None, (_P, POINTER(PointerVec))),
    "wasmtime_frame_func_name": (POINTER(ByteVec), (_P,)),
    "wasmtime_frame_module_name": (POINTER(ByteVec), (_P,)),
    "wasm_frame_func_index": (c_uint32, (_P,)),
    "wasm_frame_module_offset": (c_size_t, (_P,)),
}


_TRAP_PREFIX = "wasm trap: "  # libwasmtime's own, which would be said twice


class WasmtimeError(Exception):
    """libwasmtime said no; the message is its own. `frames` is the wasm backtrace, innermost first."""

    def __init__(self, message: str, frames: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.frames = tuple(frames)

    def reason(self) -> str:
        """Make one line of it: its causes, without the backtrace and advice before them."""
        what, separator, causes = str(self).partition("Caused by:")
        if not separator:
            return what.strip().removeprefix(_TRAP_PREFIX)
        lines = [line.strip().lstrip("0123456789: ") for line in causes.splitlines()]
        return ": ".join(line for line in lines if line).removeprefix(_TRAP_PREFIX)


class WasmTrap(WasmtimeError):
    """The guest trapped."""


_loaded: list[CDLL] = []


def library() -> CDLL:
    """Load libwasmtime once, out of the wasmtime package without importing that. Raises EngineMissing."""
    if not _loaded:
        opened = CDLL(library_path())
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(opened, name)
            function.restype, function.argtypes = result, arguments
        _loaded.append(opened)
    return _loaded[0]


def library_path() -> str:
    """Give the path of libwasmtime. Raises EngineMissing."""
    return f"{package_folder()}/linux-{os.uname().machine}/_libwasmtime.so"


def package_folder() -> str:
    """Find the installed wasmtime package. Raises EngineMissing."""
    spec = PathFinder.find_spec("wasmtime")
    if spec is None or not spec.submodule_search_locations:
        raise EngineMissing("the wasmtime engine needs the Python package wasmtime: pip install wasmtime")
    return spec.submodule_search_locations[0]


def version() -> str:
    """Give wasmtime's version, by the name of its metadata's folder: importlib.metadata costs 20 ms."""
    for name in os.listdir(os.path.dirname(package_folder())):
        if name.startswith("wasmtime-") and name.endswith(".dist-info"):
            return name[len("wasmtime-") : -len(".dist-info")]
    return f"of {os.stat(library_path()).st_mtime_ns} ns"


def wat_to_wasm(text: bytes) -> bytes:
    """Turn the text format into the binary one. Raises WasmtimeError, which points at the line."""
    binary = ByteVec()
    _check(library().wasmtime_wat2wasm(text, len(text), byref(binary)))
    return binary.take()


class Engine:
    """wasm_engine_t: the compiler's settings, which an artefact and its user must have in common."""

    def __init__(
        self,
        *,
        fuel: bool,
        memory_reservation: int | None,
        parallel: bool,
        allocator: Callable[[int], None] | None = None,
    ) -> None:
        """`memory_reservation` is the address space set aside for a memory, in bytes; None leaves 4 GiB.

        `parallel` starts a thread per CPU when something is compiled: never in a process that will fork.
        `allocator` may say in the wasm_config_t where instances come from; artefacts do not depend on it.
        """
        self._fuel = fuel
        self.memory_reservation = memory_reservation
        config = library().wasm_config_new()
        if allocator is not None:
            allocator(config)
        library().wasmtime_config_parallel_compilation_set(config, parallel)
        library().wasmtime_config_consume_fuel_set(config, fuel)
        # Only WASI 0.3 needs it. With it wasmtime 50 fails calls that lend two resources ("deferred host scope").
        library().wasmtime_config_concurrency_support_set(config, False)
        if memory_reservation is not None:
            library().wasmtime_config_memory_reservation_set(config, memory_reservation)
            library().wasmtime_config_memory_reservation_for_growth_set(config, 0)
            library().wasmtime_config_memory_guard_size_set(config, 64 << 10)
        self.pointer: int = library().wasm_engine_new_with_config(config)

    def with_allocator(self, allocator: Callable[[int], None]) -> Engine:
        """Make an engine that runs the same artefacts, with instances from elsewhere."""
        return Engine(
            fuel=self._fuel, memory_reservation=self.memory_reservation, parallel=False, allocator=allocator
        )

    def compile(self, binary: bytes) -> int:
        """Compile a core module in this process and return its wasmtime_module_t. Raises WasmtimeError."""
        module = c_void_p()
        _check(library().wasmtime_module_new(self.pointer, binary, len(binary), byref(module)))
        return module.value or 0

    def artefact(self, binary: bytes) -> bytes:
        """Compile a core module to what `load` takes. Raises WasmtimeError."""
        serialized = ByteVec()
        _check(library().wasmtime_module_serialize(self.compile(binary), byref(serialized)))
        return serialized.take()

    def component_artefact(self, binary: bytes) -> bytes:
        """Compile a component to what wasmtime_component_deserialize takes. Raises WasmtimeError."""
        component, serialized = c_void_p(), ByteVec()
        _check(library().wasmtime_component_new(self.pointer, binary, len(binary), byref(component)))
        _check(library().wasmtime_component_serialize(component, byref(serialized)))
        return serialized.take()

    def load(self, fd: int) -> int:
        """Map an artefact of ours and return its wasmtime_module_t. Raises WasmtimeError.

        Mapping it by its name in /proc shares its pages between containers. Without a procfs, from a file
        system mounted noexec, or where the user may not open it, the bytes are copied instead.
        """
        module = c_void_p()
        try:
            with_path(fd, lambda path: self._load_file(path, module))
        except (OSError, WasmtimeError):
            artefact = os.pread(fd, os.fstat(fd).st_size, 0)
            _check(
                library().wasmtime_module_deserialize(self.pointer, artefact, len(artefact), byref(module))
            )
        return module.value or 0

    def _load_file(self, path: str, module: c_void_p) -> None:
        _check(library().wasmtime_module_deserialize_file(self.pointer, path.encode(), byref(module)))


def limit_store(store: int, limits: Limits) -> None:
    """Bound each memory in bytes, each table in elements, and the number of tables, of a wasmtime_store_t.

    It may be called again, from another thread too, while a guest runs. The library then writes the same words
    over themselves but for the one that has the memory's bound, which a growing memory reads once: the bound is
    always there, and only its number changes. docs/decisions/0021 says how that was checked.
    """
    memory = _NO_BOUND if limits.memory is None else limits.memory
    elements = _NO_BOUND if limits.table_elements is None else limits.table_elements
    tables = -1 if limits.tables is None else limits.tables  # the library's own bound
    library().wasmtime_store_limiter(store, memory, elements, -1, tables, -1)


_NO_BOUND = (1 << 63) - 1


class Store:
    """wasmtime_store_t with its WASI: one guest, its limits and what it may see of the world."""

    def __init__(self, engine: Engine) -> None:
        os.environ["TOKIO_WORKER_THREADS"] = "1"  # WASI's; else a thread for each of the node's CPUs
        self._engine = engine
        self._store = library().wasmtime_store_new(engine.pointer, None, None)
        self._context: int = library().wasmtime_store_context(self._store)
        self._callbacks: list[object] = []  # kept alive for as long as wasm may call them
        self._instance = Instance()

    @property
    def context(self) -> int:
        """wasmtime_context_t, by which the component API knows a store."""
        return self._context

    def limit(self, limits: Limits) -> None:
        """Bound memories and tables, also those of a guest that runs; see `limit_store`."""
        limit_store(self._store, limits)

    def set_fuel(self, fuel: int) -> None:
        """Let the guest execute this many instructions, roughly. Raises WasmtimeError."""
        _check(library().wasmtime_context_set_fuel(self._context, fuel))

    def set_wasi(self, args: Sequence[str], env: Sequence[str], preopens: Sequence[tuple[str, str]]) -> None:
        """Give the guest this process's 0, 1 and 2, its argv and env, and (host, guest) folders, writable.

        Raises WasmtimeError when a folder cannot be opened.
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
        _check(library().wasmtime_context_set_wasi(self._context, config))

    def instantiate(
        self, module: int, on_exit: Callable[[int], None], libraries: Sequence[tuple[str, int]] = ()
    ) -> None:
        """Link the module with WASI and libraries, by their names in order; `on_exit` hears of proc_exit's code.

        proc_exit is ours because the library's own makes an error of any code above 125. After `on_exit` the
        guest is stopped, which `call` reports as WasmTrap. Raises WasmtimeError, WasmTrap.
        """
        linker = library().wasmtime_linker_new(self._engine.pointer)
        _check(library().wasmtime_linker_define_wasi(linker))
        library().wasmtime_linker_allow_shadowing(linker, True)

        def proc_exit(_env: object, _caller: object, arguments: Any, *_rest: object) -> int:
            on_exit(arguments[0].i32 & 0xFFFFFFFF)
            return int(library().wasmtime_trap_new(b"exit", 4))

        callback = Callback(proc_exit)
        self._callbacks.append(callback)
        parameters, results = PointerVec(), PointerVec()
        i32 = c_void_p(library().wasm_valtype_new(WASM_I32))
        library().wasm_valtype_vec_new(byref(parameters), 1, byref(i32))  # the library will free it
        signature = library().wasm_functype_new(byref(parameters), byref(results))
        module_name, name = b"wasi_snapshot_preview1", b"proc_exit"
        _check(
            library().wasmtime_linker_define_func(
                linker, module_name, len(module_name), name, len(name), signature, callback, None, None
            )
        )
        for library_name, library_module in libraries:
            encoded = library_name.encode()
            _check(
                library().wasmtime_linker_module(linker, self._context, encoded, len(encoded), library_module)
            )
        trap = c_void_p()
        error = library().wasmtime_linker_instantiate(
            linker, self._context, module, byref(self._instance), byref(trap)
        )
        _check(error, trap)

    def exports(self, function: str) -> bool:
        """Say whether the instance exports a function of this name."""
        return self._export(function) is not None

    def call(self, function: str) -> None:
        """Call an exported function without arguments; drop its results. Raises WasmTrap, WasmtimeError."""
        found = self._export(function)
        if found is None:
            raise WasmtimeError(f"the module exports no function {function}")
        signature = library().wasmtime_func_type(self._context, byref(found.func))
        count = library().wasm_functype_results(signature).contents.size
        results, trap = (Value * count)(), c_void_p()
        error = library().wasmtime_func_call(
            self._context, byref(found.func), None, 0, results, count, byref(trap)
        )
        _check(error, trap)

    def _export(self, function: str) -> Extern | None:
        found, name = Extern(), function.encode()
        exists = library().wasmtime_instance_export_get(
            self._context, byref(self._instance), name, len(name), byref(found)
        )
        return found if exists and found.kind == WASMTIME_EXTERN_FUNC else None


def _check(error: int | None, trap: c_void_p | None = None) -> None:
    if trap:
        message, frames = ByteVec(), PointerVec()
        library().wasm_trap_message(trap, byref(message))
        library().wasm_trap_trace(trap, byref(frames))
        raise WasmTrap(message.take().rstrip(b"\0").decode(errors="replace"), _backtrace(frames))
    if error:
        raise exception_of(error)


def exception_of(error: int) -> WasmtimeError:
    """Make an exception of a wasmtime_error_t, which stays the caller's to free."""
    frames = PointerVec()
    library().wasmtime_error_wasm_trace(error, byref(frames))
    return WasmtimeError(_message(error), _backtrace(frames))


def _message(error: int) -> str:
    message = ByteVec()
    library().wasmtime_error_message(error, byref(message))
    return message.take().decode(errors="replace")


def _backtrace(frames: PointerVec) -> tuple[str, ...]:
    """Describe each frame as FUNCTION in MODULE at its offset in the file, as far as names are known."""
    lines = []
    for number in range(frames.size):
        frame = frames.data[number]
        function = library().wasmtime_frame_func_name(frame)
        module = library().wasmtime_frame_module_name(frame)
        index = library().wasm_frame_func_index(frame)
        name = function.contents.take().decode(errors="replace") if function else f"function {index}"
        where = f" in {module.contents.take().decode(errors='replace')}" if module else ""
        lines.append(f"{name}{where} at offset {library().wasm_frame_module_offset(frame):#x}")
    return tuple(lines)


def _strings(values: Sequence[str]) -> Any:
    return (c_char_p * len(values))(*(os.fsencode(value) for value in values))
