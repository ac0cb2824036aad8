"""Calls the part of libwasmtime's C API that runs core modules, through ctypes.

The wasmtime package contains the library; its Python half takes 30 ms and 8 MiB to import, which would be most
of a container's start, so nothing imports it. Nothing made here is freed: a process runs one module and ends.
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
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
    pythonapi,
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
WASMTIME_EXTERN_MEMORY = 3
WASM_I32, WASM_I64 = 0, 1


class ByteVec(Structure):
    """wasm_byte_vec_t, also wasm_name_t and wasm_message_t."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))

    def take(self) -> bytes:
        """Copy the bytes; the library's stay allocated."""
        return string_at(self.data, self.size) if self.size else b""


class PointerVec(Structure):
    """wasm_frame_vec_t and wasm_valtype_vec_t."""

    _fields_ = (("size", c_size_t), ("data", POINTER(c_void_p)))


class Func(Structure):
    """wasmtime_func_t."""

    _fields_ = (("store_id", c_uint64), ("private", c_void_p))


class Extern(Structure):
    """wasmtime_extern_t, with the function of its union; a memory has the same place, and none is larger."""

    _fields_ = (("kind", c_uint8), ("func", Func), ("rest", c_uint64))


class WasmtimeInstance(Structure):
    """wasmtime_instance_t."""

    _fields_ = (("store_id", c_uint64), ("private", c_size_t))


class Value(Structure):
    """wasmtime_val_t with an i32; the kind is a padded byte, the union three words."""

    _fields_ = (("kind", c_uint64), ("i32", c_int32), ("rest", c_uint64 * 2))


assert sizeof(Extern) == sizeof(Value) == 32

HostFunction = CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p)
"""wasmtime_func_unchecked_callback_t: (env, caller, slots) -> trap or NULL.

The slots hold the arguments and later the result, 16 bytes each; their number comes last and is not used.
"""

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
    "wasmtime_linker_define_func_unchecked": (
        _P,
        (_P, c_char_p, c_size_t, c_char_p, c_size_t, _P, HostFunction, _P, _P),
    ),
    "wasmtime_linker_module": (_P, (_P, _P, c_char_p, c_size_t, _P)),
    "wasmtime_linker_instantiate": (_P, (_P, _P, _P, POINTER(WasmtimeInstance), POINTER(_P))),
    "wasmtime_instance_export_get": (
        c_bool,
        (_P, POINTER(WasmtimeInstance), c_char_p, c_size_t, POINTER(Extern)),
    ),
    "wasmtime_caller_export_get": (c_bool, (_P, c_char_p, c_size_t, POINTER(Extern))),
    "wasmtime_memory_data": (_P, (_P, _P)),
    "wasmtime_memory_data_size": (c_size_t, (_P, _P)),
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


_PYBUF_READ, _PYBUF_WRITE = 0x100, 0x200
_view = pythonapi.PyMemoryView_FromMemory
_view.restype, _view.argtypes = py_object, (c_void_p, c_ssize_t, c_int)


def bytes_at(address: int, size: int) -> memoryview:
    """Return a read-only view of `size` bytes of C's memory."""
    view: memoryview = _view(address, size, _PYBUF_READ)
    return view


def room_at(address: int, size: int) -> memoryview:
    """Return a writable view of `size` bytes of C's memory."""
    view: memoryview = _view(address, size, _PYBUF_WRITE)
    return view


_TRAP_PREFIX = "wasm trap: "  # libwasmtime's own, which we would repeat


class WasmtimeError(Exception):
    """libwasmtime failed, with its own message. `frames` is the wasm backtrace, innermost first."""

    def __init__(self, message: str, frames: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.frames = tuple(frames)

    def reason(self) -> str:
        """Return one line with the causes, without the backtrace and the advice before them."""
        what, separator, causes = str(self).partition("Caused by:")
        if not separator:
            return what.strip().removeprefix(_TRAP_PREFIX)
        lines = [line.strip().lstrip("0123456789: ") for line in causes.splitlines()]
        return ": ".join(line for line in lines if line).removeprefix(_TRAP_PREFIX)


class WasmTrap(WasmtimeError):
    """The guest trapped."""


_loaded: list[CDLL] = []


def library() -> CDLL:
    """Load libwasmtime once from the wasmtime package, without importing the package. Raises EngineMissing."""
    if not _loaded:
        opened = CDLL(library_path())
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(opened, name)
            function.restype, function.argtypes = result, arguments
        _loaded.append(opened)
    return _loaded[0]


def library_path() -> str:
    """Return the path of libwasmtime. Raises EngineMissing."""
    return f"{package_folder()}/linux-{os.uname().machine}/_libwasmtime.so"


def package_folder() -> str:
    """Return the folder of the installed wasmtime package. Raises EngineMissing."""
    spec = PathFinder.find_spec("wasmtime")
    if spec is None or not spec.submodule_search_locations:
        raise EngineMissing("the wasmtime engine needs the Python package wasmtime: pip install wasmtime")
    return spec.submodule_search_locations[0]


def version() -> str:
    """Return wasmtime's version from its metadata folder's name: importlib.metadata costs 20 ms."""
    for name in os.listdir(os.path.dirname(package_folder())):
        if name.startswith("wasmtime-") and name.endswith(".dist-info"):
            return name[len("wasmtime-") : -len(".dist-info")]
    return f"of {os.stat(library_path()).st_mtime_ns} ns"


def wat_to_wasm(text: bytes) -> bytes:
    """Translate the text format to the binary format. Raises WasmtimeError naming the line."""
    binary = ByteVec()
    check(library().wasmtime_wat2wasm(text, len(text), byref(binary)))
    return binary.take()


class WasmEngine:
    """wasm_engine_t: the compiler's settings, which an artefact and the process that loads it must share."""

    def __init__(
        self,
        *,
        fuel: bool,
        memory_reservation: int | None,
        parallel: bool,
        allocator: Callable[[int], None] | None = None,
    ) -> None:
        """`memory_reservation` is the address space reserved for a memory, in bytes; None keeps 4 GiB.

        `parallel` starts a thread per CPU to compile: never in a process that will fork. `allocator` may set the
        allocator of instances in the wasm_config_t; artefacts do not depend on it.
        """
        self._fuel = fuel
        self.memory_reservation = memory_reservation
        config = library().wasm_config_new()
        if allocator is not None:
            allocator(config)
        library().wasmtime_config_parallel_compilation_set(config, parallel)
        library().wasmtime_config_consume_fuel_set(config, fuel)
        # Only WASI 0.3 needs it. With it, wasmtime 50 fails calls that borrow two resources ("deferred host scope").
        library().wasmtime_config_concurrency_support_set(config, False)
        if memory_reservation is not None:
            library().wasmtime_config_memory_reservation_set(config, memory_reservation)
            library().wasmtime_config_memory_reservation_for_growth_set(config, 0)
            library().wasmtime_config_memory_guard_size_set(config, 64 << 10)
        self.pointer: int = library().wasm_engine_new_with_config(config)

    @property
    def memories_stay(self) -> bool:
        """Return whether a memory with 32-bit addresses stays at its address when it grows."""
        return self.memory_reservation is None

    def with_allocator(self, allocator: Callable[[int], None]) -> WasmEngine:
        """Make an engine that runs the same artefacts, with another allocator of instances."""
        return WasmEngine(
            fuel=self._fuel, memory_reservation=self.memory_reservation, parallel=False, allocator=allocator
        )

    def compile(self, binary: bytes) -> int:
        """Compile a core module in this process, and return its wasmtime_module_t. Raises WasmtimeError."""
        module = c_void_p()
        check(library().wasmtime_module_new(self.pointer, binary, len(binary), byref(module)))
        return module.value or 0

    def artefact(self, binary: bytes) -> bytes:
        """Compile a core module to an artefact for `load`. Raises WasmtimeError."""
        serialized = ByteVec()
        check(library().wasmtime_module_serialize(self.compile(binary), byref(serialized)))
        return serialized.take()

    def component_artefact(self, binary: bytes) -> bytes:
        """Compile a component to an artefact for wasmtime_component_deserialize. Raises WasmtimeError."""
        component, serialized = c_void_p(), ByteVec()
        check(library().wasmtime_component_new(self.pointer, binary, len(binary), byref(component)))
        check(library().wasmtime_component_serialize(component, byref(serialized)))
        return serialized.take()

    def load(self, fd: int) -> int:
        """Map one of our artefacts, and return its wasmtime_module_t. Raises WasmtimeError.

        Mapping it by its name in /proc shares its pages among containers. Without a procfs, on a file system
        mounted noexec, or if the user must not open it, the bytes are copied instead.
        """
        module = c_void_p()
        try:
            with_path(fd, lambda path: self._load_file(path, module))
        except (OSError, WasmtimeError):
            artefact = os.pread(fd, os.fstat(fd).st_size, 0)
            check(library().wasmtime_module_deserialize(self.pointer, artefact, len(artefact), byref(module)))
        return module.value or 0

    def _load_file(self, path: str, module: c_void_p) -> None:
        check(library().wasmtime_module_deserialize_file(self.pointer, path.encode(), byref(module)))


def limit_store(store: int, limits: Limits) -> None:
    """Limit each memory (bytes), each table (elements) and the number of tables of a wasmtime_store_t.

    It may be called again while a guest runs, even from another thread. The library then rewrites the same words,
    except the one with the memory's limit, which a growing memory reads once: there always is a limit, and only
    its number changes. docs/decisions/0021 says how that was checked.
    """
    memory = _NO_BOUND if limits.memory is None else limits.memory
    elements = _NO_BOUND if limits.table_elements is None else limits.table_elements
    tables = -1 if limits.tables is None else limits.tables  # the library's own limit
    library().wasmtime_store_limiter(store, memory, elements, -1, tables, -1)


_NO_BOUND = (1 << 63) - 1


def check(error: int | None, trap: c_void_p | None = None) -> None:
    """Raise a trap or error that a function of the library returned. Raises WasmTrap, WasmtimeError."""
    if trap:
        message, frames = ByteVec(), PointerVec()
        library().wasm_trap_message(trap, byref(message))
        library().wasm_trap_trace(trap, byref(frames))
        raise WasmTrap(message.take().rstrip(b"\0").decode(errors="replace"), _backtrace(frames))
    if error:
        raise exception_of(error)


def exception_of(error: int) -> WasmtimeError:
    """Convert a wasmtime_error_t to an exception; the caller frees it."""
    frames = PointerVec()
    library().wasmtime_error_wasm_trace(error, byref(frames))
    return WasmtimeError(_message(error), _backtrace(frames))


def _message(error: int) -> str:
    message = ByteVec()
    library().wasmtime_error_message(error, byref(message))
    return message.take().decode(errors="replace")


def _backtrace(frames: PointerVec) -> tuple[str, ...]:
    """Describe each frame as FUNCTION in MODULE at its offset in the file, if the names are known."""
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
