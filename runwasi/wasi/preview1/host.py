"""Lets wasmtime call the functions of WASI preview 1: reads arguments and writes results in place.

A call costs 0.2 us and stays in this thread; the library's own WASI moves every call that touches a file to
another thread (20 us a call). Source: wasmtime/func.h, wasmtime_func_unchecked_callback_t.
"""

from __future__ import annotations

import struct
from ctypes import byref, c_uint32
from types import MethodType

from runwasi.engines.wasip1 import SNAPSHOT
from runwasi.engines.wasmtime_capi import (
    WASMTIME_EXTERN_MEMORY,
    Extern,
    HostFunction,
    library,
    room_at,
)
from runwasi.engines.wasmtime_store import function_type
from runwasi.wasi.preview1 import files, paths, polling, process_calls, snapshot0
from runwasi.wasi.preview1.abi import ERRNO, INVAL, IO, Errno
from runwasi.wasi.preview1.module_guest import Exit, Guest, OutOfBounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ctypes import Array
    from typing import Any

    from runwasi.engines.wasm.wasm_binary import Import
    from runwasi.engines.wasmtime_store import Linker, Store

SIGNATURES = {
    # i is an i32, I an i64, s a signed i64; all but proc_exit return an errno
    "args_get": "ii", "args_sizes_get": "ii", "environ_get": "ii", "environ_sizes_get": "ii",
    "clock_res_get": "ii", "clock_time_get": "iIi", "fd_advise": "iIIi", "fd_allocate": "iII", "fd_close": "i",
    "fd_datasync": "i", "fd_fdstat_get": "ii", "fd_fdstat_set_flags": "ii", "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii", "fd_filestat_set_size": "iI", "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi", "fd_prestat_get": "ii", "fd_prestat_dir_name": "iii", "fd_pwrite": "iiiIi",
    "fd_read": "iiii", "fd_readdir": "iiiIi", "fd_renumber": "ii", "fd_seek": "isii", "fd_sync": "i",
    "fd_tell": "ii", "fd_write": "iiii", "path_create_directory": "iii", "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi", "path_link": "iiiiiii", "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii", "path_remove_directory": "iii", "path_rename": "iiiiii", "path_symlink": "iiiii",
    "path_unlink_file": "iii", "poll_oneoff": "iiii", "proc_exit": "i", "proc_raise": "i", "random_get": "ii",
    "sched_yield": "", "sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii", "sock_shutdown": "ii",
}  # fmt: skip

_FUNCTIONS: dict[str, Callable[..., int]] = {
    name: function
    for module in (files, paths, polling, process_calls)
    for name, function in vars(module).items()
    if name in SIGNATURES
}
_SNAPSHOTS: Mapping[str, Mapping[str, Callable[..., int]]] = {
    SNAPSHOT: _FUNCTIONS,
    "wasi_unstable": _FUNCTIONS | {name: f for name, f in vars(snapshot0).items() if name in SIGNATURES},
}

_SLOTS = {"i": "I12x", "I": "Q8x", "s": "q8x"}  # wasmtime_val_raw_t has 16 bytes

_Words = c_uint32 * (9 * 4)  # as long as the arguments of path_open, which has the most
_MOST_FRAMES = 256

_UNREACHABLE = (OutOfBounds, IndexError, struct.error)


class Frames(dict[int, "Array[c_uint32]"]):
    """The arguments at each address, as 32-bit words; the first word also takes the result.

    They are on the stack, and a guest uses the same few places again and again.
    """

    def __missing__(self, address: int) -> Array[c_uint32]:
        if len(self) == _MOST_FRAMES:
            self.clear()
        frame = self[address] = _Words.from_address(address)
        return frame


class Host:
    """Calls the functions for the guest of this process; made before the guest is known."""

    def __init__(self) -> None:
        self.guest = Guest()
        self.exit_code: int | None = None
        self._callbacks: dict[Callable[..., int], Any] = {}
        self._chosen: dict[tuple[str, str], Any] = {}
        self._frames = Frames()
        self._memory = Extern()
        self._store: Store | None = None

    def prepare(self) -> None:
        """Make all callbacks now, so that a fork of this process has them."""
        for functions in _SNAPSHOTS.values():
            for name, function in functions.items():
                function_type(SIGNATURES[name], _results(name))
                self._callback(function)

    def choose(self, imports: Iterable[Import], *, memory_stays: bool) -> None:
        """Make the callbacks for the imports that belong to preview 1 or its predecessor.

        Before the process is confined, because a callback takes executable memory. `memory_stays` says that a single
        instance calls, whose memory never moves; otherwise each call looks it up.
        """
        for snapshot, name in {(item.module, item.name) for item in imports if item.module in _SNAPSHOTS}:
            callback = self._callback(_SNAPSHOTS[snapshot][name])
            self._chosen[snapshot, name] = (
                callback if memory_stays else HostFunction(self._with_fresh_view(callback))
            )

    def provide(self, store: Store, linker: Linker) -> None:
        """Define the imports that were chosen. Raises WasmtimeError."""
        self._store = store
        for (snapshot, name), callback in self._chosen.items():
            linker.define(snapshot, name, SIGNATURES[name], _results(name), callback)

    def _callback(self, function: Callable[..., int]) -> Any:
        if function not in self._callbacks:
            self._callbacks[function] = HostFunction(self._host_function(function))
        return self._callbacks[function]

    def _host_function(self, function: Callable[..., int]) -> Callable[[None, int, int], int | None]:
        name = function.__name__
        call = MethodType(function, self.guest)
        unpack = _unpack(SIGNATURES[name])
        frames = self._frames

        def host_function(_env: None, caller: int, slots: int) -> int | None:
            frame = frames[slots]
            try:
                frame[0] = call(*unpack(frame))
            except OSError as error:
                frame[0] = ERRNO.get(error.errno or 0, IO)
            except Errno as error:
                frame[0] = error.number
            except OverflowError:  # WASI's offsets are u64, Linux's are not
                frame[0] = INVAL
            except _UNREACHABLE:
                if self._refresh_view(caller):
                    return host_function(_env, caller, slots)
                return _trap(f"{name}: {self._unreachable()}")
            except Exit as end:
                self.exit_code = end.code
                return _trap("exit")
            except BaseException as failure:  # noqa: BLE001  (nothing can be raised through wasm)
                return _trap(f"{name}: {type(failure).__name__}: {failure}")
            return None

        return host_function

    def _with_fresh_view(self, callback: Callable[..., int | None]) -> Callable[[None, int, int], int | None]:
        def host_function(_env: None, caller: int, slots: int) -> int | None:
            self._refresh_view(caller)
            return callback(_env, caller, slots)

        return host_function

    def _unreachable(self) -> str:
        return "pointer out of bounds" if len(self.guest.view) else "the module exports no memory"

    def _refresh_view(self, caller: int) -> bool:
        """Update the guest's view of the caller's memory; return whether it has grown."""
        assert self._store is not None
        context = self._store.context
        found = library().wasmtime_caller_export_get(caller, b"memory", 6, byref(self._memory))
        if not found or self._memory.kind != WASMTIME_EXTERN_MEMORY:
            return False
        memory = byref(self._memory, Extern.func.offset)
        start = library().wasmtime_memory_data(context, memory)
        size = library().wasmtime_memory_data_size(context, memory)
        grown = size > len(self.guest.view)
        self.guest.view = room_at(start, size)
        return bool(grown)


_unpacks: dict[str, Callable[..., tuple[int, ...]]] = {}


def _unpack(signature: str) -> Callable[..., tuple[int, ...]]:
    """Return the function that reads the arguments of a signature."""
    if signature not in _unpacks:
        _unpacks[signature] = struct.Struct("<" + "".join(_SLOTS[kind] for kind in signature)).unpack_from
    return _unpacks[signature]


def _results(name: str) -> str:
    return "" if name == "proc_exit" else "i"


def _trap(reason: str) -> int:
    text = reason.encode()
    return int(library().wasmtime_trap_new(text, len(text)))
