"""Ends a wasm container on a signal, whatever its guest is doing.

A guest knows no signals, and the process that runs it may be PID 1, for which the kernel drops every signal
without a handler. A Python handler would have to wait for the guest to return from a busy loop or a blocked
read. So the signals are blocked (a blocked signal is kept even for PID 1) and a thread waits for them; it
ends the process on the spot. That costs one sleeping thread: no checks compiled into the guest, no timer.
The same thread learns that the container's limits have changed, and makes the engine apply them.
"""

from __future__ import annotations

import _thread
import os
import time

from runwasi.engines.engine import EXIT_TRAP, EngineError, Trap
from runwasi.startup import thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ENDING = (thin_signal.SIGHUP, thin_signal.SIGINT, thin_signal.SIGQUIT, thin_signal.SIGTERM)
"""The signals that ask a container to end: docker's and Kubernetes's TERM, ^C, ^\\, a lost terminal."""

LIMITS_CHANGED = thin_signal.SIGURG
"""Sent when the container's limits may have changed. Other programs ignore it by default."""

_STACK = 256 << 10


def end_on_signals(timeout: float | None = None, follow_limits: Callable[[], None] | None = None) -> None:
    """From now on, end this process with status 128 + n as soon as one of these signals comes.

    After `timeout` seconds it ends too, as by a trap. `follow_limits` is called once now, and from the waiting
    thread whenever the container's limits may have changed. Call this in the process that runs the guest, before
    it has other threads, so that they inherit the mask. Raises EngineError if no thread can be started: only
    SIGKILL could end the guest then.
    """
    follow_limits = follow_limits or _keep_limits
    thin_signal.pthread_sigmask(thin_signal.SIG_BLOCK, (*ENDING, LIMITS_CHANGED))
    follow_limits()  # applies changes until now; the thread hears of later ones
    before = _thread.stack_size(_STACK)
    try:
        _thread.start_new_thread(_wait, (timeout, follow_limits))
    except RuntimeError:
        raise EngineError(
            "cannot start a thread: the container's limit of processes (RLIMIT_NPROC) is too low"
        ) from None
    finally:
        _thread.stack_size(before)


def _keep_limits() -> None:
    """Do nothing: the engine cannot change its limits while a guest runs."""


def _wait(timeout: float | None, follow_limits: Callable[[], None]) -> None:
    end = None if timeout is None else time.monotonic() + timeout
    while received := _next_signal(end):
        if received != LIMITS_CHANGED:
            os._exit(128 + received)
        follow_limits()
    os.write(2, Trap("the container ran for longer than it may").report().encode())
    os._exit(EXIT_TRAP)


def _next_signal(end: float | None) -> int:
    """Wait for a signal, and return its number; 0 at the deadline."""
    waited = (*ENDING, LIMITS_CHANGED)
    if end is None:
        return int(thin_signal.sigwait(waited))
    received = thin_signal.sigtimedwait(waited, max(0.0, end - time.monotonic()))
    return received.si_signo if received else 0
