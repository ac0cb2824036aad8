"""Finds the module that a container runs, in a file or in the image's layers, and checks that the engine accepts it.

It is imported together with the engine, before the container's root is entered; native starts never import it.
"""

from __future__ import annotations

import errno
import os

from runwasi.engines import layer_choice as image_layers
from runwasi.engines.engine import CannotHandle, Context, EngineError, Module
from runwasi.engines.wasm.linking import libraries
from runwasi.engines.wasm.sniff import SNIFF_SIZE, sniff
from runwasi.engines.wasm.wasm_binary import read_interface
from runwasi.executor.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runwasi.engines.engine import Engine
    from runwasi.engines.layer_choice import Choice, Layer
    from runwasi.executor.workload.request import Parent, WorkloadRequest


class Wasm:
    """A module and the engine that accepted it."""

    __slots__ = ("context", "engine")

    def __init__(self, engine: Engine, context: Context) -> None:
        self.engine = engine
        self.context = context


def from_file(request: WorkloadRequest, parent: Parent, path: str, fd: int, function: str) -> Wasm:
    """Have the engine accept the module in an open file. Raises ContainerError with the engine's refusal."""

    def accept() -> Wasm:
        engine, module = parent.engine(), Module(path, fd)
        engine.check(_context(request, parent, module, function))
        return _accepted(engine, _context(request, parent, parent.compiled(module), function))

    return _translated(request, accept)


def from_layers(request: WorkloadRequest, parent: Parent, layers: tuple[Layer, ...]) -> Wasm:
    """Have the engine accept the layer that the request names. Raises ContainerError with the refusal."""

    def accept() -> Wasm:
        engine = parent.engine()
        choice = image_layers.choose(layers, request.args[0], request.annotations)
        program = Module(choice.program.name, choice.program.fd)
        others = [Module(layer.name, layer.fd) for layer in choice.others]
        engine.check(_context(request, parent, program, choice.function, others))
        module = parent.compiled(program, choice.program)
        others = _libraries(choice, others, parent)
        return _accepted(engine, _context(request, parent, module, choice.function, others))

    return _translated(request, accept)


def _translated(request: WorkloadRequest, accept: Callable[[], Wasm]) -> Wasm:
    try:
        return accept()
    except EngineError as refusal:
        raise ContainerError(f"cannot execute {request.args[0]}: {refusal}", errno=errno.ENOEXEC) from None


def _libraries(choice: Choice, modules: list[Module], parent: Parent) -> list[Module]:
    """Return the image's other layers, compiled where the program is going to be linked with them."""
    layers = {layer.name: layer for layer in choice.others}
    if sniff(os.pread(choice.program.fd, SNIFF_SIZE, 0)) != "core":
        return modules
    needed = {library.module.name for library in libraries(read_interface(choice.program.fd), modules)}
    return [parent.compiled(item, layers[item.name]) if item.name in needed else item for item in modules]


def _context(
    request: WorkloadRequest, parent: Parent, module: Module, function: str, layers: Sequence[Module] = ()
) -> Context:
    return Context(
        request.args,
        module,
        env=request.env,
        cwd=request.cwd,
        function=function,
        layers=layers,
        annotations=request.annotations,
        memory_limit=parent.limits.memory,
        task_limit=parent.limits.tasks,
    )


def _accepted(engine: Engine, context: Context) -> Wasm:
    if not engine.can_handle(context):
        raise CannotHandle(f"engine {engine.name} does not accept it")
    for module in (context.module, *context.layers):
        module.close_precompiled()  # the container's root could reopen it for writing
    return Wasm(engine, context)
