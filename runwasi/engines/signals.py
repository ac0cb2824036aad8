"""Ends a wasm container when it is told to, whatever its guest is doing.

A guest knows no signals, and the process that runs it may be PID 1, for which the kernel drops every signal
without a handler. A Python handler would have to wait for the guest to return from a busy loop or a blocked
read. So the signals are blocked (a blocked signal is kept even for PID 1) and a thread waits for them; it
ends the process on the spot. That costs one sleeping thread: no checks compiled into the guest, no timer.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C half; `signal` costs 3 ms for its enums
import _thread
import os

from runwasi.engines.engine import EXIT_TRAP, EngineError, Trap

ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
"""The signals that ask a container to end: docker's and Kubernetes's TERM, ^C, ^\\, a lost terminal."""

_STACK = 256 << 10


def end_on_signals(timeout: float | None = None) -> None:
    """From now on, end this process with status 128 + n at once when one of these signals comes.

    With `timeout` in seconds it also ends when that has passed, as by a trap. Call it in the process that runs
    the guest, before it has other threads, so that they inherit the mask. Raises EngineError where no thread
    may be started: a guest that only SIGKILL ends would be no kindness.
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING)
    before = _thread.stack_size(_STACK)
    try:
        _thread.start_new_thread(_wait, (timeout,))
    except RuntimeError:
        raise EngineError(
            "no thread can be started: the container's limit of processes (RLIMIT_NPROC) is too low"
        ) from None
    finally:
        _thread.stack_size(before)


def _wait(timeout: float | None) -> None:
    if timeout is None:
        os._exit(128 + _signal.sigwait(ENDING))
    received = _signal.sigtimedwait(ENDING, timeout)
    if received:
        os._exit(128 + received.si_signo)
    os.write(2, Trap("the time that the container may run has passed").report().encode())
    os._exit(EXIT_TRAP)
