"""Sends the watchdog's heartbeat, and ends a daemon that nobody needs."""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.linux.service_manager import ServiceManager
    from runwasi.shim.server.reactor import Reactor


def beat(reactor: Reactor, manager: ServiceManager) -> None:
    """Tell the service manager that we are alive, twice as often as required; without a watchdog, never wake up."""
    if manager.watchdog:
        manager.notify("WATCHDOG=1")
        reactor.call_later(manager.watchdog / 2, lambda: beat(reactor, manager))


class IdleEnd:
    """Ends the daemon after so many seconds without a call, unless it is busy then."""

    def __init__(
        self, reactor: Reactor, seconds: float, busy: Callable[[], bool], end: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._busy = busy
        self._end = end
        self._last = monotonic()
        reactor.call_later(seconds, self._check)

    def called(self) -> None:
        """Note a call: the daemon is needed."""
        self._last = monotonic()

    def _check(self) -> None:
        if self._busy():
            self._last = monotonic()
        left = self._last + self._seconds - monotonic()
        if left <= 0:
            self._end()
        else:
            self._reactor.call_later(left, self._check)
