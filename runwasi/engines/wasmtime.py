"""The wasmtime engine: core modules are run by wasmtime_core, components by wasmtime_component."""

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
"""Of what is set into components that serve HTTP (wasi/inset): another one, another artefact."""

THREADS = 2
"""The guest's, and one that waits for signals."""

THREADS_OF_COMPONENTS = THREADS + 2
"""On the library's WASI there are two for files."""


class Settings:
    """How modules are compiled, which their artefacts and this process must have in common.

    A memory normally sits in 4 GiB of reserved addresses, so that the code needs no bounds checks. Under a
    limit of the address space that cannot be had; then nothing is reserved and each access is checked.
    """

    __slots__ = ("fuel", "reserve_memory")

    def __init__(self, fuel: bool = False, reserve_memory: bool = True) -> None:
        self.fuel = fuel
        self.reserve_memory = reserve_memory

    def engine(self, *, parallel: bool = False) -> capi.Engine:
        """Make libwasmtime's engine of these settings; parallel only where nothing is ever forked."""
        reservation = None if self.reserve_memory else 0
        return capi.Engine(fuel=self.fuel, memory_reservation=reservation, parallel=parallel)

    def __str__(self) -> str:
        return f"fuel={self.fuel} reserve-memory={self.reserve_memory}"


class WasmtimeEngine(Engine):
    """Runs modules with libwasmtime, which the Python package `wasmtime` brings."""

    name = "wasmtime"

    def __init__(self) -> None:
        self._settings = Settings()
        self._version = ""
        self._engine: capi.Engine | None = None
        self._checked = False
        self._core: Core | None = None
        self._component: Component | None = None

    def configure(self, annotations: Mapping[str, str], address_space: int | None = None) -> None:
        """Compile for fuel if the container has some, and without reserved memory if addresses are scarce."""
        roomy = address_space is None or address_space > 64 << 30
        self._settings = Settings(fuel=FUEL.of(annotations) is not None, reserve_memory=roomy)
        self._engine = None

    def load(self, kind: Kind | None = None) -> None:
        """Load libwasmtime (5 ms); for a component also what runs it. Raises EngineMissing."""
        capi.library()
        self._version = self._version or _identity()
        if kind != "component":
            from runwasi.engines import wasmtime_core  # late: 1 ms, of no use to components

            if kind is None:
                wasmtime_core.HOST.prepare()  # a server that forks is glad of it
        if kind != "core":
            from runwasi.engines import wasmtime_component  # late: 40 ms, and most modules are none

            wasmtime_component.load()

    def load_compiler(self, kind: Kind | None = None) -> None:
        """Load libwasmtime; for a component also what puts the inset into it. Raises EngineMissing."""
        capi.library()
        if kind != "core":
            import runwasi.wasi.inset.setting  # noqa: F401  (late: 5 ms, and most modules are no components)

    def compatibility_key(self) -> str:
        """Name the version, the CPU's features and the settings. Raises EngineMissing."""
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
        """Look at annotations, imports and exports. Raises CannotHandle."""
        limits_of(ctx)
        preopens_of(ctx)
        fd = binary_fd(ctx.module)
        if sniff(os.pread(fd, 8, 0)) == "component":
            from runwasi.engines import wasmtime_component  # late: 40 ms, and most modules are none

            check_tasks(ctx, THREADS_OF_COMPONENTS)
            wasmtime_component.check(fd, ctx.function)
        else:
            from runwasi.engines import wasmtime_core  # late: 1 ms, and load brought it

            check_tasks(ctx, THREADS)
            self._core = wasmtime_core.Core(ctx, fd)
        self._checked = True

    def can_handle(self, ctx: Context) -> bool:
        """Load its artefact, or compile it here if there is none. Raises CannotHandle."""
        if not self._checked:
            self.check(ctx)
        if self._core is not None:
            self._core.load(ctx, self._libwasmtime())
        else:
            from runwasi.engines import wasmtime_component  # late: check brought it

            self._component = wasmtime_component.Component(ctx, self._libwasmtime())
        return True

    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        """Run it; a trap's backtrace names functions as far as it has names. Raises Trap, EngineError."""
        del ctx  # it is the one that can_handle accepted
        stdio.install()
        if self._component is not None:
            return self._component.run()
        assert self._core is not None
        return self._core.run()

    def _libwasmtime(self) -> capi.Engine:
        if self._engine is None:
            self._engine = self._settings.engine()
        return self._engine


def _component_artefact(engine: capi.Engine, binary: bytes) -> bytes:
    """Compile a component, one that serves HTTP with the inset in it, which nobody else may seem to have.

    Raises CannotHandle, WasmtimeError.
    """
    from runwasi.engines.wasm.component_outline import NotUnderstood  # late: see load_compiler
    from runwasi.wasi.inset.inset_interface import ANSWER, HOST
    from runwasi.wasi.inset.setting import with_inset

    for name in (ANSWER, HOST):
        if name.encode() in binary:
            raise CannotHandle(f"it has {name} in it, a name that is runwasi's own")
    try:
        return engine.component_artefact(with_inset(binary))
    except (
        NotUnderstood,
        capi.WasmtimeError,
    ):  # it is put together in a way not known here, and runs without
        return engine.component_artefact(binary)


def _identity() -> str:
    """Name the library and the CPU, which artefacts depend on; the container's own /proc may not show it."""
    return f"{capi.version()} {os.uname().machine} {features()}"
