"""The WasmEdge engine: runs core modules with WASI preview 1 through the C API of the system's libwasmedge."""

from __future__ import annotations

import os
from ctypes import CDLL, POINTER, Structure, c_bool, c_char_p, c_int, c_uint32, c_uint64, c_void_p

from runwasi.engines.annotations import FUEL
from runwasi.engines.cpu import features
from runwasi.engines.engine import CannotHandle, Engine, EngineError, EngineMissing, Trap
from runwasi.engines.guest_limits import check_tasks, limits_of, preopens_of
from runwasi.engines.signals import end_on_signals
from runwasi.engines.wasip1 import check_interface
from runwasi.engines.wasm.sniff import sniff
from runwasi.engines.wasm.wasm_binary import check_whole, read_interface
from runwasi.engines.wasm.wat import binary_fd, to_binary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from runwasi.engines.engine import Context, Stdio
    from runwasi.engines.guest_limits import Limits
    from runwasi.engines.wasm.sniff import Kind

LIBRARY = "libwasmedge.so.0"

# fmt: off
SOCKET_EXTENSION = frozenset((
    "sock_open", "sock_bind", "sock_listen", "sock_connect", "sock_recv_from", "sock_send_to", "sock_getlocaladdr",
    "sock_getpeeraddr", "sock_getaddrinfo", "sock_getsockopt", "sock_setsockopt",
))
# fmt: on
"""WasmEdge's additions to wasi_snapshot_preview1. Source: lib/host/wasi/wasimodule.cpp."""

THREADS = 2
"""The guest's thread, and the one that waits for signals."""

PAGE = 64 << 10
TERMINATED = 1  # WasmEdge_ErrCode_Terminated: proc_exit, which is not a failure
HOST_WASI = 0  # WasmEdge_HostRegistration_Wasi
OUTPUT_WASM = 1  # WasmEdge_CompilerOutputFormat_Wasm: the module with its machine code as a custom section


class WasmEdgeResult(Structure):
    """WasmEdge_Result: one byte of category, three of code."""

    _fields_ = (("code", c_uint32),)


class String(Structure):
    """WasmEdge_String."""

    _fields_ = (("length", c_uint32), ("buffer", c_char_p))


_P = c_void_p
_STRINGS = POINTER(c_char_p)
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "WasmEdge_VersionGet": (c_char_p, ()),
    "WasmEdge_LogOff": (None, ()),
    "WasmEdge_ConfigureCreate": (_P, ()),
    "WasmEdge_ConfigureAddHostRegistration": (None, (_P, c_int)),
    "WasmEdge_ConfigureSetMaxMemoryPage": (None, (_P, c_uint32)),
    "WasmEdge_ConfigureStatisticsSetCostMeasuring": (None, (_P, c_bool)),
    "WasmEdge_ConfigureCompilerSetOutputFormat": (None, (_P, c_int)),
    "WasmEdge_CompilerCreate": (_P, (_P,)),
    "WasmEdge_CompilerCompileFromBuffer": (WasmEdgeResult, (_P, c_char_p, c_uint64, c_char_p)),
    "WasmEdge_VMCreate": (_P, (_P, _P)),
    "WasmEdge_VMGetImportModuleContext": (_P, (_P, c_int)),
    "WasmEdge_VMGetStatisticsContext": (_P, (_P,)),
    "WasmEdge_StatisticsSetCostLimit": (None, (_P, c_uint64)),
    "WasmEdge_ModuleInstanceInitWASI": (
        None,
        (_P, _STRINGS, c_uint32, _STRINGS, c_uint32, _STRINGS, c_uint32),
    ),
    "WasmEdge_ModuleInstanceWASIGetExitCode": (c_uint32, (_P,)),
    "WasmEdge_VMLoadWasmFromBuffer": (WasmEdgeResult, (_P, c_char_p, c_uint32)),
    "WasmEdge_VMValidate": (WasmEdgeResult, (_P,)),
    "WasmEdge_VMInstantiate": (WasmEdgeResult, (_P,)),
    "WasmEdge_VMExecute": (WasmEdgeResult, (_P, String, _P, c_uint32, _P, c_uint32)),
    "WasmEdge_ResultOK": (c_bool, (WasmEdgeResult,)),
    "WasmEdge_ResultGetCode": (c_uint32, (WasmEdgeResult,)),
    "WasmEdge_ResultGetMessage": (c_char_p, (WasmEdgeResult,)),
}


class WasmedgeEngine(Engine):
    """Runs modules with libwasmedge 0.13 or later (Debian: libwasmedge0)."""

    name = "wasmedge"

    def __init__(self) -> None:
        self._library: CDLL | None = None
        self._fuel = False
        self._calls: tuple[str, ...] = ()
        self._vm = 0
        self._wasi = 0

    def configure(self, annotations: Mapping[str, str], address_space: int | None = None) -> None:
        """Compile with instruction counting if the container has fuel. Raises CannotHandle."""
        del address_space
        self._fuel = FUEL.of(annotations) is not None

    def load(self, kind: Kind | None = None) -> None:
        """Load libwasmedge (15 ms and 45 MiB, most of it LLVM). Raises EngineMissing."""
        self._api()
        if kind == "wat":
            to_binary(b"(module)")

    def compatibility_key(self) -> str:
        """Return the version, the CPU and the settings. Raises EngineMissing."""
        version = self._api().WasmEdge_VersionGet().decode()
        return f"wasmedge {version} {os.uname().machine} {features()} fuel={self._fuel}"

    def precompile(self, module: bytes) -> bytes:
        """Compile a core module with LLVM, through a temporary file. Raises CannotHandle."""
        binary, path = to_binary(module), "artefact.wasm"
        _refuse_component(binary)
        check_whole(binary)
        compiler = self._api().WasmEdge_CompilerCreate(self._configuration(None))
        self._accept(
            self._api().WasmEdge_CompilerCompileFromBuffer(compiler, binary, len(binary), path.encode())
        )
        with open(path, "rb") as file:
            return file.read()

    def check(self, ctx: Context) -> None:
        """Look at annotations, imports and exports. Raises CannotHandle."""
        limits_of(ctx)
        preopens_of(ctx)
        check_tasks(ctx, THREADS)
        fd = binary_fd(ctx.module)
        _refuse_component(os.pread(fd, 8, 0))
        self._calls = check_interface(read_interface(fd), ctx.function, also_provided=SOCKET_EXTENSION)

    def can_handle(self, ctx: Context) -> bool:
        """Load and validate it, and instantiate WASI, to know that memory suffices. Raises CannotHandle."""
        if not self._calls:
            self.check(ctx)
        self._vm = self._api().WasmEdge_VMCreate(self._configuration(limits_of(ctx)), None)
        self._wasi = self._api().WasmEdge_VMGetImportModuleContext(self._vm, HOST_WASI)
        binary = ctx.module.read_precompiled() or to_binary(ctx.module.read())
        self._accept(self._api().WasmEdge_VMLoadWasmFromBuffer(self._vm, binary, len(binary)))
        self._accept(self._api().WasmEdge_VMValidate(self._vm))
        return True

    def syscall_filter(self) -> str:
        """Return the filter of core modules, as there are no others."""
        return "wasmedge-core"

    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        """Run it. WasmEdge reports the reason of a trap, but no backtrace. Raises Trap, EngineError."""
        api, limits = self._api(), limits_of(ctx)
        stdio.install()
        end_on_signals(limits.timeout)
        if limits.fuel is not None:
            api.WasmEdge_StatisticsSetCostLimit(api.WasmEdge_VMGetStatisticsContext(self._vm), limits.fuel)
        folders = [f"{guest}:{folder}" for folder, guest in preopens_of(ctx)]
        arrays = (_strings(ctx.args), _strings(ctx.env), _strings(folders))
        api.WasmEdge_ModuleInstanceInitWASI(
            self._wasi, *(part for array in arrays for part in (array, len(array)))
        )
        result = api.WasmEdge_VMInstantiate(self._vm)
        if not api.WasmEdge_ResultOK(result):
            raise EngineError(self._message(result))
        for function in self._calls:
            name = String(len(function.encode()), function.encode())
            result = api.WasmEdge_VMExecute(self._vm, name, None, 0, None, 0)
            if api.WasmEdge_ResultGetCode(result) == TERMINATED:
                break
            if not api.WasmEdge_ResultOK(result):
                raise Trap(self._message(result))
        return int(api.WasmEdge_ModuleInstanceWASIGetExitCode(self._wasi)) & 0xFF

    def _api(self) -> CDLL:
        if self._library is None:
            try:
                library = CDLL(LIBRARY)
            except OSError as error:
                raise EngineMissing(
                    f"the wasmedge engine needs {LIBRARY}: install libwasmedge0 of Debian 13 or WasmEdge ({error})"
                ) from None
            for name, (result, arguments) in _PROTOTYPES.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
            library.WasmEdge_LogOff()  # it would write to the container's output
            self._library = library
        return self._library

    def _configuration(self, limits: Limits | None) -> int:
        api = self._api()
        configuration: int = api.WasmEdge_ConfigureCreate()
        api.WasmEdge_ConfigureAddHostRegistration(configuration, HOST_WASI)
        api.WasmEdge_ConfigureStatisticsSetCostMeasuring(configuration, self._fuel)
        api.WasmEdge_ConfigureCompilerSetOutputFormat(configuration, OUTPUT_WASM)
        if limits and limits.memory is not None:
            api.WasmEdge_ConfigureSetMaxMemoryPage(configuration, min(limits.memory // PAGE, 65536))
        return configuration

    def _accept(self, result: WasmEdgeResult) -> None:
        if not self._api().WasmEdge_ResultOK(result):
            raise CannotHandle(f"WasmEdge refuses it: {self._message(result)}")

    def _message(self, result: WasmEdgeResult) -> str:
        return str(self._api().WasmEdge_ResultGetMessage(result).decode(errors="replace"))


def _refuse_component(head: bytes) -> None:
    if sniff(head) == "component":
        raise CannotHandle("it is a component; wasmedge takes core modules, the wasmtime engine takes both")


def _strings(values: Sequence[str]) -> Any:
    return (c_char_p * len(values))(*(os.fsencode(value) for value in values))
