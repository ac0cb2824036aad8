"""Runs the HTTP server's processes: one warm parent forks the workers, waits for them and passes signals on.

The first SIGTERM or SIGINT makes the workers drain, and the container ends with 0 when they have; the second
ends everything at once. The parent also tells each worker when the container's limits have changed. The parent is
a container's PID 1: it blocks the signals and takes them one by one, so that none is lost, whatever a guest does
meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys

from runwasi.engines.engine import EngineError
from runwasi.engines.signals import ENDING, LIMITS_CHANGED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_WAITED = (*ENDING, signal.SIGCHLD, LIMITS_CHANGED)


def run_workers(count: int, serve: Callable[[int, int], None], follow_limits: Callable[[], None]) -> int:
    """Fork workers, which call `serve` with their number and a descriptor that is readable once they must drain.

    In a worker `follow_limits` is called whenever the container's limits may have changed: between two steps of
    the worker's own code, even while a guest is in a host function.
    Returns the exit status: 0 after draining; 128 + n when a second signal n ended it; a worker's own, or
    128 + its signal, when one ended without being asked, which ends the others too. Raises EngineError.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    drain_read, drain_write = os.pipe2(os.O_CLOEXEC)

    def work(number: int) -> None:
        os.close(drain_write)
        signal.signal(LIMITS_CHANGED, lambda _number, _frame: follow_limits())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group
        serve(number, drain_read)

    workers = _fork_workers(count, work)
    count = len(workers)
    draining = False
    while workers:
        received = signal.sigwait(_WAITED)
        if received == signal.SIGCHLD:
            code = _reap(workers)
            if code or (workers and not draining and len(workers) < count):
                _kill(workers)
                return code
        elif received == LIMITS_CHANGED:
            for pid in workers:
                os.kill(pid, LIMITS_CHANGED)
        elif draining:
            _kill(workers)
            return 128 + received
        else:
            draining = True
            os.close(drain_write)  # every worker's read end is readable now
    return 0


def _fork_workers(count: int, work: Callable[[int], None]) -> set[int]:
    """Fork as many workers as the process limit allows, at least one. Raises EngineError."""
    workers: set[int] = set()
    try:
        while len(workers) < count:
            workers.add(_fork_worker(work, len(workers)))
    except OSError as error:
        if not workers:
            raise EngineError(f"cannot fork a worker: {error.strerror}") from error
    return workers


def _fork_worker(work: Callable[[int], None], number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work(number)
        code = 0
    except BaseException:  # noqa: BLE001  (a fork's end: nothing may return into the parent's code)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _reap(workers: set[int]) -> int:
    """Reap the workers that have ended; return the first bad status among them."""
    bad = 0
    while workers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        if pid not in workers:  # an orphan of the container, whose PID 1 this is
            continue
        workers.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        bad = bad or (code if code >= 0 else 128 - code)
    return bad


def _kill(workers: set[int]) -> None:
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for pid in workers:
        os.waitpid(pid, 0)
