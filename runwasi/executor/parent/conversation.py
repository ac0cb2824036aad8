"""The parent's end of the channel: it answers what the child asks, until the child is done or dead.

Driven by whoever has a selector: wait until fileno() is readable and call next_message(), which serves the
requests that are the same for every process (layers, compiling, a seccomp listener) and returns the others.
"""

from __future__ import annotations

import os
import select
from _signal import SIGKILL  # type: ignore[import-not-found]  # the module signal adds enumerations, 3 ms

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
    Message,
    failure_from,
)
from runwasi.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runwasi.engines.engine import Engine
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.processes import Child
    from runwasi.oci.process import Process

END = "end"
"""Kind of the message that stands for the child's end of the channel being closed."""


class Conversation:
    """Owns the parent's end of the channel and the processes sent on errands for the child."""

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
        self._poll = select.epoll()
        self._poll.register(channel.fileno(), select.EPOLLIN)
        self._errands: dict[int, Child] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when next_message has something to do."""
        return self._poll.fileno()

    def proceed(self, *fields: str) -> None:
        """Let the child go on. Raises BrokenPipeError when it died."""
        self._channel.send(PROCEED, *fields)

    def next_message(self) -> Message | None:
        """Serve what is there; return the next message that only the caller can answer, or None for now.

        Raises ContainerError when the child reports a failure.
        """
        for fd, _ in self._poll.poll(0):
            if fd in self._errands:
                self._errand_ended(fd)
                continue
            message = self._channel.receive()
            if message is None:
                return Message(END)
            if not self._serve(message):
                return message
        return None

    def wait(self) -> Message:
        """Serve the child until there is a message that only the caller can answer. Raises as next_message."""
        while True:
            message = self.next_message()
            if message is not None:
                return message
            self._poll.poll()

    def close(self) -> None:
        """End the errands and close the channel."""
        for errand in self._errands.values():
            end_child(errand)
        self._errands.clear()
        self._channel.close()
        self._poll.close()

    def _serve(self, message: Message) -> bool:
        if message.kind == FAILED:
            raise failure_from(message.fields)
        if message.kind == LISTENER:
            self._forward_listener(message.fds[0])
            self.proceed()
        elif message.kind == FILTER:
            self._send_filter()
        elif message.kind in (COMPILE, LAYERS):
            self._send_on_errand(message)
        else:
            return False
        return True

    def _send_filter(self) -> None:
        """Send the program of the filter for wasm; the child cannot reach the cache or libseccomp any more."""
        from runwasi.executor import seccomp_profile  # late: only wasm
        from runwasi.executor.workload.wasm_confinement import PROFILE

        try:
            program = seccomp_profile.compiled(PROFILE, self._options.cache_root)
        except ContainerError as error:
            self._channel.send_failure(error)
            return
        assert program is not None
        file = os.memfd_create("filter", os.MFD_CLOEXEC)
        try:
            os.write(file, program.program)
            self._channel.send(ANSWER, str(program.flags), fds=(file,))
        finally:
            os.close(file)

    def _send_on_errand(self, message: Message) -> None:
        """Have the child answered from another process, or at once where the answer is at hand."""
        from runwasi.executor.parent import errands  # late: only wasm

        child: Child | None
        if message.kind == LAYERS:
            child = errands.answer_layers(self._channel, self._options)
        else:
            child = errands.answer_compile(self._channel, message, self._options, self._load_engine)
        if child is not None:
            self._errands[child.pidfd] = child
            self._poll.register(child.pidfd, select.EPOLLIN)

    def _errand_ended(self, pidfd: int) -> None:
        """Reap one; if it died without an answer, the child gets one from us."""
        self._poll.unregister(pidfd)
        del self._errands[pidfd]
        code = processes.reap(pidfd)
        os.close(pidfd)
        if code:
            self._channel.send_failure(ContainerError(f"a helper process ended with status {code}"))


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


def end_child(child: Child) -> None:
    """Kill and reap a child of ours, and close its pidfd; one that is gone already is fine."""
    try:
        processes.pidfd_send_signal(child.pidfd, SIGKILL)
        processes.reap(child.pidfd)
    except (ProcessLookupError, ChildProcessError):
        pass
    os.close(child.pidfd)
