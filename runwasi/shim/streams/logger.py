"""Runs logger programs: binary://PROGRAM?KEY=VALUE reads a process's output from pipes.

The program gets stdout on descriptor 3 and stderr on 4, and the container's id and namespace in its
environment. It closes 5 once it is ready (with binary-v2, after writing a byte). Source: containerd
core/runtime/v2/README.md "Binary", pkg/process NewBinaryIO.
"""

from __future__ import annotations

import os
from fcntl import F_DUPFD_CLOEXEC, fcntl
from time import monotonic

from runwasi.executor.errors import ContainerError, Invalid
from runwasi.executor.undo import Undo
from runwasi.linux import processes
from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.waiting import Wait
from runwasi.shim.streams.output_reader import OutputReader
from runwasi.startup.thin_signal import set_wakeup_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.reactor import Reactor

_START = 30.0  # seconds until a logger must be ready, as long as containerd's shim waits for streams
_STDOUT, _STDERR, _READY = 3, 4, 5


def is_logger(uri: str) -> bool:
    """Return whether a stdout URI names a program."""
    return uri.startswith(("binary://", "binary-v2://"))


class Logger(OutputReader):
    """A running logger."""

    def __init__(
        self,
        reactor: Reactor,
        uri: str,
        container_id: str,
        namespace: str,
        environment: Mapping[str, str],
    ) -> None:
        self._strict = uri.startswith("binary-v2://")
        command = self._command = _command(uri)
        own = {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace}
        self._ready: Fd | None
        self._refusal: Fd | None
        with Undo() as undo:
            (out, stdout), (err, stderr) = _pipe(undo), _pipe(undo)
            self._ready, ready = _pipe(undo, os.O_NONBLOCK)
            self._refusal, refusal = _pipe(undo, os.O_NONBLOCK)
            child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
            if child is None:  # its program may be on a mount that hangs
                ends = (out.fileno(), err.fileno(), ready.fileno())
                _become(command, {**environment, **own}, ends, refusal.fileno())
            pidfd = Fd(child.pidfd)
            undo.add(pidfd.close)
            close_owned((out, err, ready, refusal))
            super().__init__(reactor, stdout, stderr, pidfd)

    def ready(self) -> Operation[None]:
        """Wait until the program is ready. Raises ContainerError if it ends or takes too long."""
        deadline = monotonic() + _START
        refused = yield from self._heard(self._refusal, 16, deadline)
        if refused:
            why = os.strerror(int(refused))
            raise ContainerError(f"failed to start binary process: {self._command[0]}: {why}")
        byte = yield from self._heard(self._ready, 1, deadline)
        self._drop_ready()
        if self._strict and not byte:
            raise ContainerError("logging binary did not call ready: it may have ended early")

    def _heard(self, fd: Fd | None, size: int, deadline: float) -> Operation[bytes]:
        assert fd is not None
        if not (yield Wait((fd.fileno(),), deadline)):
            raise ContainerError(f"logging binary {self._command[0]} is not ready after {_START:.0f} s")
        return os.read(fd.fileno(), size)

    def stop(self) -> None:
        """Close the pipes and ask the program to end; kill it after a while."""
        self._drop_ready()
        super().stop()

    def _drop_ready(self) -> None:
        close_owned((self._ready, self._refusal))
        self._ready = self._refusal = None


def _command(uri: str) -> list[str]:
    """Return program and arguments: each key of the query followed by its value, if that is not empty.

    Raises Invalid.
    """
    from urllib.parse import parse_qsl, unquote, urlsplit  # late: 8 ms, with loggers only

    try:
        parts = urlsplit(uri)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError as error:
        raise Invalid(f"logging binary {uri}: {error}") from None
    command = [unquote(parts.path)]
    for key, value in pairs:
        command += [key, value] if value else [key]
    if any("\0" in word for word in command):
        raise Invalid(f"logging binary {uri}: contains a zero byte")
    return command


def _pipe(undo: Undo, flags: int = 0) -> tuple[Fd, Fd]:
    """Make a pipe, close-on-exec, that undo closes; return its reading and its writing end."""
    reading, writing = map(Fd, os.pipe2(os.O_CLOEXEC | flags))
    undo.add(close_owned, (reading, writing))
    return reading, writing


def _become(
    command: list[str], environment: dict[str, str], ends: tuple[int, int, int], refusal: int
) -> NoReturn:
    """Become the program in the new process, with the pipe ends as 3, 4 and 5, or report the error by its number."""
    try:
        set_wakeup_fd(-1)
        # Move all up first, then into place: one end may have the number meant for another.
        *high, refusal = (fcntl(fd, F_DUPFD_CLOEXEC, _READY + 1) for fd in (*ends, refusal))
        for fd, to in zip(high, (_STDOUT, _STDERR, _READY), strict=True):
            os.dup2(fd, to)
        processes.close_fds_except({0, 1, 2, _STDOUT, _STDERR, _READY, refusal})
        os.execve(command[0], command, environment)
    except OSError as error:
        os.write(refusal, str(error.errno).encode())
    finally:
        os._exit(127)
