"""Hooks: programs of the operator run at fixed points of a container's life.

A hook gets the container's state as JSON on its standard input, exactly the environment the spec names, and as
long as its timeout says. One for which none is named gets ours, as with runc and crun: hooks are often scripts
that rely on PATH. Source: runtime-spec config.md#posix-platform-hooks.
"""

from __future__ import annotations

import os
import select
import time
from _signal import (  # type: ignore[import-not-found]  # the module signal adds enumerations, 3 ms
    SIGKILL,
    SIGPIPE,
    SIGXFSZ,
)

from runwasi.executor.errors import HOOK, ContainerError
from runwasi.linux.processes import pidfd_open, pidfd_send_signal, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runwasi.oci.spec import Hook

_MAX_OUTPUT = 4096


def run_all(kind: str, hooks: Sequence[Hook], state: bytes) -> None:
    """Run the hooks in order; the first that fails ends it. Raises ContainerError naming kind, index and path."""
    for index, hook in enumerate(hooks):
        _run(kind, index, hook, state)


def run_each(kind: str, hooks: Sequence[Hook], state: bytes, warn: Callable[[str], None]) -> None:
    """Run the hooks in order; one that fails is a warning and the next still runs (poststop)."""
    for index, hook in enumerate(hooks):
        try:
            _run(kind, index, hook, state)
        except ContainerError as error:
            warn(str(error))


def _run(kind: str, index: int, hook: Hook, state: bytes) -> None:
    name = f"error running {kind} hook #{index}: {hook.path}"
    try:
        code, output = _spawn(hook, state)
    except TimeoutError:
        raise ContainerError(f"{name}: timed out after {hook.timeout} s", step=HOOK) from None
    except OSError as error:
        raise ContainerError(f"{name}: {error.strerror} ($.hooks.{kind}[{index}].path)", step=HOOK) from None
    if code:
        said = f": {output}" if output else ""
        raise ContainerError(f"{name}: exit status {code}{said}", step=HOOK)


def _spawn(hook: Hook, state: bytes) -> tuple[int, str]:
    """Run one hook; return its exit code and the end of what it printed. Raises OSError, TimeoutError."""
    # a memory file rather than a pipe: a hook that never reads blocks nobody, however long the state
    stdin = os.memfd_create("state", os.MFD_CLOEXEC)
    output, output_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.write(stdin, state)
        os.lseek(stdin, 0, os.SEEK_SET)
        try:
            pid = _start(hook, stdin, output_end)
        finally:
            os.close(output_end)
        pidfd = pidfd_open(pid)
        ended = False
        try:
            result = _wait(pidfd, output, hook.timeout)
            ended = True
            return result
        finally:
            if not ended:  # its time is over, or somebody interrupts us
                pidfd_send_signal(pidfd, SIGKILL)
                reap(pidfd)
            os.close(pidfd)
    finally:
        os.close(stdin)
        os.close(output)


def _start(hook: Hook, stdin: int, output: int) -> int:
    return os.posix_spawn(
        hook.path,
        hook.args or (hook.path,),
        os.environ if hook.env is None else dict(entry.partition("=")[::2] for entry in hook.env),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(SIGPIPE, SIGXFSZ),  # Python ignores these two
    )


def _wait(pidfd: int, output: int, timeout: int | None) -> tuple[int, str]:
    """Wait for the hook to end, not for those it left behind. Raises TimeoutError after its timeout (seconds)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output, select.POLLIN)
    printed = b""
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = dict(poll.poll(left))
        if not ready:
            raise TimeoutError
        if output in ready:
            printed, ended = _drain(output, printed)
            if ended:
                poll.unregister(output)
        if pidfd in ready:
            printed, _ = _drain(output, printed)
            return reap(pidfd), " ".join(printed.decode(errors="replace").split())


def _drain(fd: int, printed: bytes) -> tuple[bytes, bool]:
    """Read what is there; return the last 4 KiB of all output, and whether all writers are gone."""
    while True:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return printed, False
        if not chunk:
            return printed, True
        printed = (printed + chunk)[-_MAX_OUTPUT:]
