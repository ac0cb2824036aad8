"""Runs hooks: programs of the operator, at fixed points of a container's life.

A hook gets the container's state as JSON on its standard input, and the environment and the timeout of the
spec. Without an environment in the spec it gets ours, as with runc and crun: many hooks are scripts that rely
on PATH. Source: runtime-spec config.md#posix-platform-hooks.

Running them is an operation, so a server goes on meanwhile. A hook outside the container dies with the
process that runs it. A hook inside dies with the container, and is started only with calls that every filter
allows.
"""

from __future__ import annotations

import os
import time

from runwasi.executor.errors import HOOK, ContainerError
from runwasi.executor.undo import Undo
from runwasi.linux import processes
from runwasi.linux.waiting import Wait
from runwasi.startup.thin_signal import (
    SIG_DFL,
    SIG_SETMASK,
    SIGPIPE,
    SIGXFSZ,
    pthread_sigmask,
    set_wakeup_fd,
    signal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from runwasi.linux.waiting import Operation
    from runwasi.oci.spec import Hook

_MAX_OUTPUT = 4096
_PIECES = 16  # pieces to read in one turn: a hook that writes without end must not keep the server busy
_NOT_EXECUTED = 127


def run_all(kind: str, hooks: Sequence[Hook], state: bytes, *, inside: bool = False) -> Operation[None]:
    """Run the hooks in order, until one fails. Raises ContainerError naming kind, index and path."""
    for index, hook in enumerate(hooks):
        yield from _run(kind, index, hook, state, inside=inside)


def run_each(kind: str, hooks: Sequence[Hook], state: bytes, warn: Callable[[str], None]) -> Operation[None]:
    """Run the hooks in order; a failing one is a warning, and the next still runs (poststop)."""
    for index, hook in enumerate(hooks):
        try:
            yield from _run(kind, index, hook, state, inside=False)
        except ContainerError as error:
            warn(str(error))


def _run(kind: str, index: int, hook: Hook, state: bytes, *, inside: bool) -> Operation[None]:
    name = f"error running {kind} hook #{index}: {hook.path}"
    undo = Undo()
    try:
        code, output = yield from undo.around(_carried_out(hook, state, inside, undo))
        yield from undo.run()
    except TimeoutError:
        raise ContainerError(f"{name}: timed out after {hook.timeout} s", step=HOOK) from None
    except OSError as error:
        raise ContainerError(f"{name}: {error.strerror} ($.hooks.{kind}[{index}].path)", step=HOOK) from None
    if code:
        said = f": {output}" if output else ""
        raise ContainerError(f"{name}: exit status {code}{said}", step=HOOK)


def _carried_out(hook: Hook, state: bytes, inside: bool, undo: Undo) -> Operation[tuple[int, str]]:
    """Run one hook; return its exit code and the end of its output. Raises OSError, TimeoutError."""
    # a memory file rather than a pipe: a hook that never reads blocks nobody, however long the state
    stdin = os.memfd_create("state", os.MFD_CLOEXEC)
    output, output_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    refusal, refusal_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for fd in (stdin, output, refusal):
        undo.add(os.close, fd)
    try:
        os.write(stdin, state)
        os.lseek(stdin, 0, os.SEEK_SET)
        pid = os.fork()  # whose calls a container's filter allows, unlike clone3
        if not pid:
            _become(hook, (stdin, output_end, output_end), refusal_end, inside=inside)
    finally:
        os.close(output_end)
        os.close(refusal_end)
    pidfd = processes.pidfd_open(pid)
    undo.add(processes.end, pidfd)
    code, printed = yield from _followed(pidfd, output, hook.timeout)
    refused = os.read(refusal, 16)
    if refused:
        raise OSError(int(refused), os.strerror(int(refused)), hook.path)
    return code, printed


def _become(hook: Hook, streams: tuple[int, int, int], refusal: int, *, inside: bool) -> NoReturn:
    """Become the program in the new process, or report the error by its number."""
    try:
        if not inside:
            processes.work_apart(refusal, streams)
        set_wakeup_fd(-1)
        os.setsid()
        for number in (SIGPIPE, SIGXFSZ):  # Python ignores these two
            signal(number, SIG_DFL)
        pthread_sigmask(SIG_SETMASK, ())
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        environment = os.environ if hook.env is None else _dictionary(hook.env)
        os.execve(hook.path, hook.args or (hook.path,), environment)
    except OSError as error:
        os.write(refusal, str(error.errno).encode())
    finally:
        os._exit(_NOT_EXECUTED)


def _dictionary(env: Sequence[str]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in env)


def _followed(pidfd: int, output: int, timeout: int | None) -> Operation[tuple[int, str]]:
    """Wait for the hook to end, but not for its own children. Raises TimeoutError after its timeout (seconds)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    printed, wanted = b"", [pidfd, output]
    while True:
        ready = yield Wait(wanted, deadline)
        if not ready:
            raise TimeoutError
        printed, ended = _drain(output, printed)
        if ended:
            wanted = [pidfd]
        if pidfd in ready:
            return processes.reap(pidfd), " ".join(printed.decode(errors="replace").split())


def _drain(fd: int, printed: bytes) -> tuple[bytes, bool]:
    """Read the available output; return the last 4 KiB of all, and whether all writers are gone."""
    for _ in range(_PIECES):
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return printed, False
        if not chunk:
            return printed, True
        printed = (printed + chunk)[-_MAX_OUTPUT:]
    return printed, False
