"""The wasmtime engine: runs core modules with wasmtime_core, and components with wasmtime_component."""

from __future__ import annotations

import os

from runwasi.engines import wasmtime_capi as capi
from runwasi.engines.annotations import FUEL
from runwasi.engines.cpu import features
from runwasi.engines.engine import CannotHandle, Engine
from runwasi.engines.guest_limits import check_tasks, limits_of, preopens_of
from runwasi.engines.wasm.sniff import sniff
from runwasi.engines.wasm.wasm_binary import check_whole
from runwasi.engines.wasm.wat import binary_fd, to_binary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.engines.engine import Context, Stdio
    from runwasi.engines.wasm.sniff import Kind
    from runwasi.engines.wasmtime_component import Component
    from runwasi.engines.wasmtime_core import Core


INSET_VERSION = 1
"""The version of the inset in components that serve HTTP (wasi/inset); artefacts depend on it."""

THREADS = 2
"""The guest's thread, and the one that waits for signals."""

THREADS_OF_COMPONENTS = THREADS + 2
"""The library's WASI has two more, for files."""


class CompilerSettings:
    """The compiler's settings, which an artefact and the process that loads it must share.

    A memory normally has 4 GiB of reserved addresses, so that the code needs no bounds checks. A limit of the
    address space forbids that; then nothing is reserved, and each access is checked.
    """

    __slots__ = ("fuel", "reserve_memory")

    def __init__(self, fuel: bool = False, reserve_memory: bool = True) -> None:
        self.fuel = fuel
        self.reserve_memory = reserve_memory

    def engine(self, *, parallel: bool = False) -> capi.WasmEngine:
        """Make libwasmtime's engine with these settings; parallel only in a process that never forks."""
        reservation = None if self.reserve_memory else 0
        return capi.WasmEngine(fuel=self.fuel, memory_reservation=reservation, parallel=parallel)

    def __str__(self) -> str:
        return f"fuel={self.fuel} reserve-memory={self.reserve_memory}"


class WasmtimeEngine(Engine):
    """Runs modules with libwasmtime from the Python package `wasmtime`."""

    name = "wasmtime"

    def __init__(self) -> None:
        self._settings = CompilerSettings()
        self._version = ""
        self._engine: capi.WasmEngine | None = None
        self._checked = False
        self._core: Core | None = None
        self._component: Component | None = None

    def configure(self, annotations: Mapping[str, str], address_space: int | None = None) -> None:
        """Compile with fuel if the container has some, and without reserved memory if addresses are limited."""
        roomy = address_space is None or address_space > 64 << 30
        self._settings = CompilerSettings(fuel=FUEL.of(annotations) is not None, reserve_memory=roomy)
        self._engine = None

    def load(self, kind: Kind | None = None) -> None:
        """Load libwasmtime (5 ms), and for a component the code that runs it. Raises EngineMissing."""
        capi.library()
        self._version = self._version or _identity()
        if kind != "component":
            from runwasi.engines import wasmtime_core  # late: 1 ms, and components do not need it

            if kind is None:
                wasmtime_core.HOST.prepare()  # once in the server, for all its forks
        if kind != "core":
            from runwasi.engines import wasmtime_component  # late: 40 ms, and most modules are not components

            wasmtime_component.load()

    def load_compiler(self, kind: Kind | None = None) -> None:
        """Load libwasmtime, and for a component the code that adds the inset. Raises EngineMissing."""
        capi.library()
        if kind != "core":
            import runwasi.wasi.inset.setting  # noqa: F401  (late: 5 ms, and most modules are not components)

    def compatibility_key(self) -> str:
        """Return the version, the CPU's features and the settings. Raises EngineMissing."""
        self._version = self._version or _identity()
        return f"wasmtime {self._version} {self._settings} wasi-0.2 inset-{INSET_VERSION}"

    def precompile(self, module: bytes) -> bytes:
        """Compile a core module, a component or the text of either, on all CPUs. Raises CannotHandle."""
        engine, binary = self._settings.engine(parallel=True), to_binary(module)
        try:
            if sniff(binary) == "component":
                return _component_artefact(engine, binary)
            check_whole(binary)
            return engine.artefact(binary)
        except capi.WasmtimeError as error:
            raise CannotHandle(error.reason()) from None

    def check(self, ctx: Context) -> None:
        """Check annotations, imports and exports. Raises CannotHandle."""
        limits_of(ctx)
        preopens_of(ctx)
        fd = binary_fd(ctx.module)
        if sniff(os.pread(fd, 8, 0)) == "component":
            from runwasi.engines import wasmtime_component  # late: 40 ms, and most modules are not components

            check_tasks(ctx, THREADS_OF_COMPONENTS)
            wasmtime_component.check(fd, ctx.function)
        else:
            from runwasi.engines import wasmtime_core  # late: 1 ms, imported by load

            check_tasks(ctx, THREADS)
            self._core = wasmtime_core.Core(ctx, fd)
        self._checked = True

    def can_handle(self, ctx: Context) -> bool:
        """Load the artefact, or compile the module here if there is none. Raises CannotHandle."""
        if not self._checked:
            self.check(ctx)
        if self._core is not None:
            self._core.load(ctx, self._libwasmtime())
        else:
            from runwasi.engines import wasmtime_component  # late: imported by check

            self._component = wasmtime_component.Component(ctx, self._libwasmtime())
        return True

    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        """Run it; a trap's backtrace has the function names that the module has. Raises Trap, EngineError."""
        del ctx  # the one that can_handle accepted
        stdio.install()
        if self._component is not None:
            return self._component.run()
        assert self._core is not None
        return self._core.run()

    def syscall_filter(self) -> str:
        """Return the filter by what runs: a core module, a command, or a server of HTTP."""
        if self._component is None:
            return "wasmtime-core"
        return "wasmtime-http" if self._component.serves_http else "wasmtime-component"

    def makes_sockets(self) -> bool:
        """Return whether its imports ask for any; the socket that a server listens on is made before."""
        return self._component is not None and self._component.makes_sockets

    def before_filter(self) -> None:
        """Have a server of HTTP listen."""
        if self._component is not None:
            self._component.listen()

    def _libwasmtime(self) -> capi.WasmEngine:
        if self._engine is None:
            self._engine = self._settings.engine()
        return self._engine


def _component_artefact(engine: capi.WasmEngine, binary: bytes) -> bytes:
    """Compile a component; one that serves HTTP gets the inset. Refuse one that pretends to have it already.

    Raises CannotHandle, WasmtimeError.
    """
    from runwasi.engines.wasm.component_outline import NotUnderstood  # late: see load_compiler
    from runwasi.wasi.inset.inset_interface import ANSWER, HOST
    from runwasi.wasi.inset.setting import with_inset

    for name in (ANSWER, HOST):
        if name.encode() in binary:
            raise CannotHandle(f"it contains {name}, a name reserved for runwasi")
    try:
        return engine.component_artefact(with_inset(binary))
    except (
        NotUnderstood,
        capi.WasmtimeError,
    ):  # its structure is unknown: it runs without the inset
        return engine.component_artefact(binary)


def _identity() -> str:
    """Return the library's version and the CPU's features, before the container's /proc may hide them."""
    return f"{capi.version()} {os.uname().machine} {features()}"
