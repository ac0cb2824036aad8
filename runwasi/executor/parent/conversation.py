"""Answers the child's requests over the channel, until the child is ready or dead.

next_message() is an operation. It serves the requests that are the same for every process (layers, compiling,
a seccomp listener), and returns all other messages. Errands do the work that takes time; this waits for them
and for the child at the same time.
"""

from __future__ import annotations

import os

from runwasi.executor.errors import ContainerError
from runwasi.executor.protocol import (
    ANSWER,
    COMPILE,
    FAILED,
    FILTER,
    LAYERS,
    LISTENER,
    PROCEED,
    Channel,
    ChannelMessage,
    failure_from,
)
from runwasi.linux import processes
from runwasi.linux.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runwasi.engines.engine import Engine
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.processes import Child
    from runwasi.linux.waiting import Operation
    from runwasi.oci.process import Process

END = "end"
"""Kind of the message that stands for the child's end of the channel being closed."""


class Conversation:
    """Owns the parent's end of the channel, and the errands that run for the child."""

    def __init__(
        self,
        channel: Channel,
        options: CreateOptions,
        load_engine: Callable[[], Engine],
        forward_listener: Callable[[int], None],
    ) -> None:
        self._channel = channel
        self._options = options
        self._load_engine = load_engine
        self._forward_listener = forward_listener
        self._errands: dict[int, Child] = {}
        self._tied = False

    def proceed(self, *fields: str) -> None:
        """Let the child go on. Raises BrokenPipeError when it died."""
        self._channel.send(PROCEED, *fields)

    def next_message(self) -> Operation[ChannelMessage]:
        """Serve the child until it sends a message that only the caller can answer.

        Raises ContainerError when the child reports a failure.
        """
        while True:
            message = self._take((yield self._wait()))
            if message is not None:
                return message

    def last_words(self) -> Operation[None]:
        """Raise the failure that the child has already reported, if any."""
        self._take((yield self._wait(deadline=0.0)))

    def let_go(self) -> None:
        """Tell the child, which is ready, that it may outlive us from now on; it may have been killed already."""
        try:
            self.proceed()
        except BrokenPipeError:
            return

    def tie(self) -> Channel:
        """Return the channel, and leave it open at close: the child then ends when its creator does."""
        self._tied = True
        return self._channel

    def close(self) -> Operation[None]:
        """Close the channel and end the errands."""
        if not self._tied:
            self._channel.close()
        while self._errands:
            yield from processes.end(self._errands.popitem()[0])

    def _wait(self, deadline: float | None = None) -> Wait:
        return Wait((self._channel.fileno(), *self._errands), deadline)

    def _take(self, ready: tuple[int, ...]) -> ChannelMessage | None:
        """Serve the waiting messages; return the first that only the caller can answer."""
        for fd in ready:
            if fd in self._errands:
                self._errand_ended(fd)
                continue
            message = self._channel.receive()
            if message is None:
                return ChannelMessage(END)
            if not self._serve(message):
                return message
        return None

    def _serve(self, message: ChannelMessage) -> bool:
        if message.kind == FAILED:
            raise failure_from(message.fields)
        if message.kind == FILTER:
            self._send_filter(*message.fields)
        elif message.kind in (COMPILE, LAYERS, LISTENER):
            self._send_on_errand(message)
        else:
            return False
        return True

    def _send_filter(self, name: str, network: str) -> None:
        """Send the program of a filter for wasm; the child can no longer reach the cache or libseccomp."""
        from runwasi.executor.process import seccomp_profile  # late: only wasm
        from runwasi.executor.workload import wasm_filter

        rules = wasm_filter.rules_of(name, network=bool(network))
        try:
            program = seccomp_profile.compiled_from(
                rules, lambda: wasm_filter.profile(rules), self._options.cache_root
            )
        except ContainerError as error:
            self._channel.send_failure(error)
            return
        file = os.memfd_create("filter", os.MFD_CLOEXEC)
        try:
            os.write(file, program.program)
            self._channel.send(ANSWER, str(program.flags), fds=(file,))
        finally:
            os.close(file)

    def _send_on_errand(self, message: ChannelMessage) -> None:
        """Answer the child from another process, or at once if the answer is at hand."""
        from runwasi.executor.parent import errands  # late: only wasm, and filters that notify

        child: Child | None
        if message.kind == LAYERS:
            child = errands.answer_layers(self._channel, self._options)
        elif message.kind == LISTENER:
            child = errands.answer_listener(self._channel, message.fds[0], self._forward_listener)
        else:
            child = errands.answer_compile(self._channel, message, self._options, self._load_engine)
        if child is not None:
            self._errands[child.pidfd] = child

    def _errand_ended(self, pidfd: int) -> None:
        """Reap an errand; if it died without an answer, send the child a failure."""
        del self._errands[pidfd]
        code = processes.reap(pidfd)
        os.close(pidfd)
        if code:
            try:
                self._channel.send_failure(ContainerError(f"a helper process ended with status {code}"))
            except BrokenPipeError:
                return  # the child is gone too, and its end comes next


def engine_of(options: CreateOptions, annotations: Mapping[str, str], process: Process) -> Engine:
    """Return the engine that the options name or bring, configured for a process but not loaded.

    Raises EngineError for an unknown name and for annotations that make no sense.
    """
    if isinstance(options.engine, str):
        from runwasi.engines import registry  # late: only for wasm

        engine = registry.load(options.engine)
    else:
        engine = options.engine
    address_space = [limit.soft for limit in process.rlimits if limit.type == "RLIMIT_AS"]
    engine.configure(annotations, address_space[0] if address_space else None)
    return engine
