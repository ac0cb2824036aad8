"""Runs errands: short-lived processes for work that might block, or that takes much memory or time.

Some answer a container's first process in place of its creator: they compile a module or fetch an image's
layers, and answer on the creator's end of the channel. Others do a part of the server's own work that waits
for a filesystem, a message bus or a foreign socket. Each dies with the process that started it, and with the
call that it serves.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from runwasi.executor.errors import ContainerError
from runwasi.executor.protocol import ANSWER, FAILED, PROCEED, Channel, ChannelMessage, failure_from
from runwasi.executor.telemetry import metric_events
from runwasi.executor.undo import Undo
from runwasi.linux import processes, sockets
from runwasi.linux.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from runwasi.engines.engine import Engine
    from runwasi.engines.module_cache import ModuleCache
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.processes import Child
    from runwasi.linux.waiting import Operation

    Answer = tuple[tuple[str, ...], tuple[int, ...]]

PATIENCE = 600.0
"""Seconds that a call of a server's, or a piece of its work, may take. kubelet gives up after two minutes; but a
compilation has five, and may have to wait for another one's."""
LONG = 3600.0
"""Seconds that CRIU may take, whose image is as large as the container's memory, and a removal."""


def run(
    work: Callable[[], Answer | None], what: str, kept: Iterable[int] = (), seconds: float = PATIENCE
) -> Operation[ChannelMessage]:
    """Call work() in a process of its own that keeps these descriptors; return its answer's fields and descriptors.

    Raises the ContainerError that work raised, or one saying that `what` takes too long.
    """
    channel, theirs = Channel.pair()
    undo = Undo()
    with undo:
        undo.add(channel.close)
        undo.add(theirs.close)
        child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
        if child is None:
            _answer(theirs, ANSWER, work, kept)
    theirs.close()
    undo.add(processes.end, child.pidfd)
    message = yield from undo.around(heard(channel, what, seconds))
    yield from undo.run()
    return message


def heard(channel: Channel, what: str, seconds: float) -> Operation[ChannelMessage]:
    """Wait for an errand's answer. Raises ContainerError as run does."""
    if not (yield Wait((channel.fileno(),), monotonic() + seconds)):
        raise ContainerError(f"{what}: not done after {seconds:.0f} s", errno=errno.ETIMEDOUT)
    message = channel.receive()
    if message is None:
        raise ContainerError(f"{what}: the process that was to do it is gone")
    if message.kind == FAILED:
        raise failure_from(message.fields)
    return message


def answer_compile(
    channel: Channel, message: ChannelMessage, options: CreateOptions, load_engine: Callable[[], Engine]
) -> Child | None:
    """Answer with the artefact of the module in message: at once when it is cached, else from a new process.

    Fields of the message: the module's name, the digest of the layer that its artefact is to be kept with
    ("" for a file, or a layer that has it), its cache key ("" for a large file, which the new process hashes: there
    OpenSSL can be imported, while a container that has entered its root must import nothing), and what beside the
    module the key is made of.
    """
    from runwasi.engines import module_cache  # late: only wasm

    name, blob, key, compatibility = message.fields
    (module,) = message.fds
    cache = module_cache.ModuleCache(options.cache_root)
    images = options.images if blob else None
    artefact = _look_up(cache, key) if key else None
    if artefact is not None and images is None:
        channel.send(ANSWER, fds=(artefact,))
        sockets.close_all((artefact, module))
        return None
    if artefact is not None:
        os.close(artefact)

    def answer() -> Answer:
        found = None if key else _look_up(cache, module_cache.cache_key_of(module, compatibility, fast=True))
        if found is not None:
            return (), (found,)
        made = _compile(load_engine(), module, cache, name)
        if images is not None:
            images.keep(blob, key, made)
        return (), (made,)

    return _fork(channel, ANSWER, answer, message.fds, images.prepare() if images else ())


def _look_up(cache: ModuleCache, key: str) -> int | None:
    """Open an artefact in the cache, None if there is none, and report which it was."""
    artefact = cache.lookup(key)
    metric_events.report("module", "compiled" if artefact is None else "cached")
    return artefact


def _compile(engine: Engine, module: int, cache: ModuleCache, name: str) -> int:
    """Compile a module, in a process that may block. Raises ContainerError with the engine's refusal."""
    from runwasi.engines.engine import CannotHandle  # late: only wasm
    from runwasi.executor.workload import compiler  # late: only where a module is new to this node

    try:
        return compiler.compile_module(engine, module, cache, name)
    except CannotHandle as refusal:
        raise ContainerError(f"cannot execute {name}: {refusal}", errno=errno.ENOEXEC) from None


def answer_layers(channel: Channel, options: CreateOptions) -> Child:
    """Answer from a new process with the wasm layers of the container's image: descriptions and descriptors."""
    images = options.images
    assert images is not None  # the child asks only if its plan says that somebody can answer

    def answer() -> Answer:
        layers = images.fetch()
        return tuple(layer.to_text() for layer in layers), tuple(layer.fd for layer in layers)

    return _fork(channel, ANSWER, answer, (), images.prepare())


def answer_listener(channel: Channel, listener: int, forward: Callable[[int], None]) -> Child:
    """Send a filter's listener to its agent, which may be slow to receive it, then let the child continue."""

    def work() -> None:
        forward(listener)

    return _fork(channel, PROCEED, work, (listener,))


def _fork(
    channel: Channel,
    kind: str,
    work: Callable[[], Answer | None],
    fds: tuple[int, ...],
    kept: tuple[int, ...] = (),
) -> Child:
    """Fork a process that answers. It takes over fds, and keeps the creator's descriptors in kept."""
    try:
        child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
        if child is None:
            _answer(channel, kind, work, (*fds, *kept))
    finally:
        sockets.close_all(fds)
    return child


def _answer(channel: Channel, kind: str, work: Callable[[], Answer | None], kept: Iterable[int]) -> NoReturn:
    """Do the work in the new process, and answer whatever happens."""
    try:
        processes.work_apart(channel.fileno(), kept)
        fields, descriptors = work() or ((), ())
        channel.send(kind, *fields, fds=descriptors)
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the server's code
        channel.send_failure(error)
    os._exit(0)
