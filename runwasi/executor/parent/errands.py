"""Short-lived processes that answer a container's first process in its creator's stead.

Compiling a module or fetching an image's layers takes memory and time that a server must not spend, so a process
forked for it does, answers on the server's end of the channel, and ends.
"""

from __future__ import annotations

import errno
import os
from _signal import set_wakeup_fd  # type: ignore[import-not-found]  # the module signal adds enumerations, 3 ms

from runwasi.engines.engine import CannotHandle
from runwasi.engines.module_cache import ModuleCache, cache_key_of
from runwasi.executor.errors import ContainerError
from runwasi.executor.protocol import ANSWER, Channel, Message
from runwasi.linux import processes, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from runwasi.engines.engine import Engine
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.processes import Child

    Answer = tuple[tuple[str, ...], tuple[int, ...]]


def answer_compile(
    channel: Channel, message: Message, options: CreateOptions, load_engine: Callable[[], Engine]
) -> Child | None:
    """Answer with the artefact of the module in message: at once when it is cached, else from a new process.

    Fields of the message: the module's name, the digest of the layer that its artefact is to be kept with
    ("" for a file, or a layer that has it), its cache key ("" for a large file, which the new process hashes: there
    OpenSSL can be imported, while a container that has entered its root must import nothing), and what beside the
    module the key is made of.
    """
    name, blob, key, compatibility = message.fields
    (module,) = message.fds
    cache = ModuleCache(options.cache_root)
    images = options.images if blob else None
    artefact = cache.lookup(key) if key else None
    if artefact is not None and images is None:
        channel.send(ANSWER, fds=(artefact,))
        sockets.close_all((artefact, module))
        return None
    sockets.close_all(() if artefact is None else (artefact,))

    def answer() -> Answer:
        found = None if key else cache.lookup(cache_key_of(module, compatibility, fast=True))
        if found is not None:
            return (), (found,)
        from runwasi.executor.workload import compiler  # late: only where a module is new to this node

        engine = load_engine()
        try:
            made = compiler.compile_module(engine, module, cache, name)
        except CannotHandle as refusal:
            raise ContainerError(f"cannot execute {name}: {refusal}", errno=errno.ENOEXEC) from None
        if images is not None:
            images.keep(blob, key, made)
        return (), (made,)

    return _fork(channel, answer, message.fds, images.prepare() if images else ())


def answer_layers(channel: Channel, options: CreateOptions) -> Child:
    """Answer from a new process with the wasm layers of the container's image: their descriptions and bytes."""
    images = options.images
    assert images is not None  # the child asks only when it was told that somebody can

    def answer() -> Answer:
        layers = images.fetch()
        return tuple(layer.to_text() for layer in layers), tuple(layer.fd for layer in layers)

    return _fork(channel, answer, (), images.prepare())


def _fork(
    channel: Channel, answer: Callable[[], Answer], fds: tuple[int, ...], kept: tuple[int, ...]
) -> Child:
    """Fork a process that answers; it takes fds over, and keeps these others of the creator's."""
    child = processes.fork_into()
    if child is None:
        _answer(channel, answer, (*fds, *kept))
    sockets.close_all(fds)
    return child


def _answer(channel: Channel, answer: Callable[[], Answer], fds: tuple[int, ...]) -> NoReturn:
    """In the new process: whatever happens, the child that waits gets an answer."""
    try:
        set_wakeup_fd(-1)  # the creator's, closed with the rest
        processes.close_fds_except({0, 1, 2, channel.fileno(), *fds})
        fields, descriptors = answer()
        channel.send(ANSWER, *fields, fds=descriptors)
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the server's code
        channel.send_failure(error)
    os._exit(0)
