"""Waits for a process in the foreground, and passes signals on to it."""

from __future__ import annotations

import os
import select

from runwasi.linux.processes import pidfd_send_signal, reap
from runwasi.startup import thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.console_relay import ConsoleRelay
    from runwasi.cli.notify import Relay
    from runwasi.cli.signal_forwarding import Caught


def follow(
    pid: int, pidfd: int, caught: Caught, console: ConsoleRelay | None = None, relay: Relay | None = None
) -> int:
    """Serve a process until it ends; return its exit code, 128 + n if signal n ended it."""
    while True:
        wanted = {pidfd: select.POLLIN, caught.fileno(): select.POLLIN}
        if console is not None:
            wanted |= console.wanted()
        if relay is not None:
            wanted[relay.fileno()] = select.POLLIN
        ready = wait_for(wanted)
        if caught.fileno() in ready:
            _handle_signals(caught.take(), pid, pidfd, console)
        if console is not None:
            console.turn(ready)
        if relay is not None and relay.fileno() in ready and relay.forward(os.getpid()):
            relay.close()
            relay = None
        if pidfd in ready:
            if console is not None:
                console.drain()
            return reap(pidfd)


def wait_for(wanted: dict[int, int]) -> dict[int, int]:
    """Wait until some descriptor has a wanted event; return the ready descriptors with their events."""
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return dict(poll.poll())


def _handle_signals(numbers: bytes, pid: int, pidfd: int, console: ConsoleRelay | None) -> None:
    for number in numbers:
        if number == thin_signal.SIGCHLD:
            _reap_orphans(pid)
        elif number == thin_signal.SIGWINCH:
            if console is not None:
                console.resize()
        else:
            try:
                pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                return


def _reap_orphans(pid: int) -> None:
    """Reap the orphans of a container without a pid namespace, but leave its first process to `follow`."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, os.WNOHANG)
