"""Runs WebAssembly in a container's process; anticipate_engine imports it while it can still see the host's files."""

from __future__ import annotations

import gc
import os

from runwasi.engines.annotations import NETWORK
from runwasi.engines.engine import EXIT_REFUSED, EXIT_TRAP, EngineError, Module, Stdio, Trap
from runwasi.engines.layer_choice import Layer
from runwasi.engines.module_cache import LARGE, cache_key_of, cache_key_of_digest
from runwasi.engines.signals import LIMITS_CHANGED
from runwasi.engines.wasm.sniff import SNIFF_SIZE, sniff
from runwasi.executor.child import guest_view
from runwasi.executor.errors import ContainerError
from runwasi.executor.limits.limits_in_force import LimitsInForce
from runwasi.executor.protocol import COMPILE, FILTER, LAYERS, Channel
from runwasi.executor.workload import wasm_confinement, wasm_module
from runwasi.executor.workload.request import Native
from runwasi.linux.seccomp_filter import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.engines.engine import Engine
    from runwasi.engines.wasm.sniff import Kind
    from runwasi.executor.child.progress import Progress
    from runwasi.executor.workload.wasm_module import Wasm


PRELOADED = (wasm_module, guest_view)
"""Modules that others import later, when the host's files are out of reach."""


class Parent:
    """Offers the engine, and the parent's help over the channel, to the choice of a workload.

    kind is what the file that args[0] names seems to be, None when there is none and layers may be the program.
    """

    def __init__(self, ctx: Progress, kind: Kind | None) -> None:
        self._ctx = ctx
        self._engine: Engine | None = None
        self._layers: tuple[Layer, ...] = ()
        self._failure: ContainerError | None = None
        self.limits = LimitsInForce(ctx.plan.cgroup_paths, ctx.plan.spec.linux.resources)
        self.limits.signal_changes(LIMITS_CHANGED)
        if kind is None:
            kind = self._ask_for_layers()
        if kind is not None or self._layers:
            self._load(kind)

    def engine(self) -> Engine:
        """Return the engine, configured and loaded."""
        return self._engine or self._load(None)

    def fetch_layers(self) -> tuple[Layer, ...]:
        """Return the wasm layers of the container's image. Raises ContainerError when they could not be had."""
        if self._failure is not None:
            raise self._failure
        return self._layers

    def fds(self) -> tuple[int, ...]:
        """Return the descriptors that must stay open: those of the layers, until one is chosen, and of the limits."""
        return (*(layer.fd for layer in self._layers), *self.limits.fds())

    def compiled(self, module: Module, layer: Layer | None = None) -> Module:
        """Ask for the artefact of a module; the same module comes back where its engine makes none."""
        compatibility = self.engine().compatibility_key()
        if not compatibility:
            return module
        key = _key(module, layer, compatibility)
        blob = layer.blob if layer and key not in layer.kept else ""
        answer = self._ctx.channel.request(COMPILE, module.name, blob, key, compatibility, fds=(module.fd,))
        return Module(module.name, module.fd, answer.fds[0] if answer.fds else None)

    def _ask_for_layers(self) -> Kind | None:
        """Ask for them now, as their kind says what of the engine to load; return it if it is the same for all."""
        try:
            self._layers = _fetch_layers(self._ctx.channel)
        except ContainerError as failure:
            self._failure = failure  # reported after the search in the root
        kinds = {sniff(os.pread(layer.fd, SNIFF_SIZE, 0)) for layer in self._layers}
        return kinds.pop() if len(kinds) == 1 else None

    def _load(self, kind: Kind | None) -> Engine:
        self._engine = self._ctx.plan.load_engine()
        self._engine.load(kind)
        return self._engine


def _key(module: Module, layer: Layer | None, compatibility: str) -> str:
    """Return the key of the module's artefact; "" for a large file, which the parent's helper hashes faster."""
    if layer:
        return cache_key_of_digest(layer.digest.removeprefix("sha256:"), compatibility)
    if os.fstat(module.fd).st_size >= LARGE:
        return ""
    return cache_key_of(module.fd, compatibility)


def _fetch_layers(channel: Channel) -> tuple[Layer, ...]:
    answer = channel.request(LAYERS)
    return tuple(Layer.from_text(text, fd) for text, fd in zip(answer.fields, answer.fds, strict=True))


def confine(ctx: Progress) -> None:
    """Take from a wasm container what no guest can need, unless annotations say otherwise."""
    annotations = ctx.plan.spec.annotations
    ctx.process = wasm_confinement.confined(ctx.process, annotations)
    if ctx.seccomp is None and wasm_confinement.wants_filter(annotations):
        assert ctx.workload is not None
        assert not isinstance(ctx.workload, Native)
        name = ctx.workload.engine.syscall_filter()
        sockets = NETWORK.of(annotations) and ctx.workload.engine.makes_sockets()
        answer = ctx.channel.request(FILTER, name, "network" if sockets else "")
        (file,) = answer.fds
        ctx.seccomp = Filter(os.pread(file, os.fstat(file).st_size, 0), int(answer.fields[0]))
        os.close(file)


def run(ctx: Progress, wasm: Wasm) -> NoReturn:
    """Run the module and exit with its status; other open descriptors than its stdio are the engine's."""
    ctx.channel.close()
    ctx.verdict.close()  # its closing says that the workload runs
    assert ctx.parent is not None  # it brought the module
    ctx.parent.limits.receive()
    gc.freeze()  # what is there now stays, and may be shared with the server
    gc.enable()  # a short command does without, but a guest may call host functions in Python for years
    try:
        code = wasm.engine.run_wasi(wasm.context, Stdio(0, 1, 2))
    except Trap as trap:
        code = EXIT_TRAP
        os.write(2, trap.report().encode())
    except EngineError as error:
        code = EXIT_REFUSED
        os.write(2, f"runwasi: {error}\n".encode())
    os._exit(code)
