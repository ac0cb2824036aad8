"""Work that takes seconds, in a process of its own, so that the pod's other calls are served meanwhile."""

from __future__ import annotations

import os

from runwasi.executor.errors import ContainerError, describe
from runwasi.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from runwasi.shim.server.reactor import Reactor

_MAX_MESSAGE = 4096


def run(
    reactor: Reactor,
    work: Callable[[], None],
    done: Callable[[ContainerError | None], None],
    kept: Iterable[int] = (),
) -> None:
    """Call work() in a fork that has the kept descriptors, then done() here with the error it raised, if any."""
    report, end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
    if child is None:
        _work(work, end, kept)
    os.close(end)
    pidfd = child.pidfd

    def ended(_events: int) -> None:
        reactor.unwatch(pidfd)
        code = processes.reap(pidfd)
        message = os.read(report, _MAX_MESSAGE).decode(errors="replace")
        os.close(pidfd)
        os.close(report)
        if code and not message:
            message = f"the process that was to do it ended with status {code}"
        done(ContainerError(message) if message else None)

    reactor.watch(pidfd, ended)


def _work(work: Callable[[], None], report: int, kept: Iterable[int]) -> NoReturn:
    try:
        processes.close_fds_except({0, 1, 2, report, *kept})
        work()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  nothing of the server may run on in its child
        os.write(report, describe(error).encode()[:_MAX_MESSAGE])
    finally:
        os._exit(1)
