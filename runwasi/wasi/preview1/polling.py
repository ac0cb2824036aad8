"""poll_oneoff: waits for deadlines and descriptors, in this thread."""

from __future__ import annotations

import time
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll

from runwasi.wasi.preview1 import abi
from runwasi.wasi.preview1.abi import BADF, EVENT, INVAL, SUBSCRIPTION, SUCCESS, Errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from struct import Struct

    from runwasi.wasi.preview1.handles import Handle
    from runwasi.wasi.preview1.module_guest import Guest

    Event = tuple[int, int, int, int, int]
    """Userdata, errno, type, bytes, flags."""

_ABSOLUTE = 1  # $subclockflags
_NANO = 1_000_000_000
_LONGEST = 86400 * _NANO
"""The most nanoseconds to wait at once: a guest may wait for centuries, but the kernel counts ms in an int."""


def poll_oneoff(
    guest: Guest, subscriptions: int, events: int, count: int, result: int, layout: Struct = SUBSCRIPTION
) -> int:
    """Wait until at least one of the subscriptions is due, and report all that are due."""
    if not count:
        return INVAL
    guest.view[result + 3]
    guest.part(events, count * EVENT.size)
    wanted = guest.part(subscriptions, count * layout.size)
    due = _wait([_subscription(guest, fields) for fields in layout.iter_unpack(wanted)])
    for number, event in enumerate(due):
        EVENT.pack_into(guest.view, events + number * EVENT.size, *event)
    abi.SIZE.pack_into(guest.view, result, len(due))
    return SUCCESS


class Moment:
    """A deadline in nanoseconds of the monotonic clock."""

    __slots__ = ("deadline", "userdata")

    def __init__(self, userdata: int, deadline: int) -> None:
        self.userdata = userdata
        self.deadline = deadline


class Readiness:
    """A handle to be read or written; `event` is poll(2)'s event for that, 0 if it always is ready."""

    __slots__ = ("event", "handle", "kind", "userdata")

    def __init__(self, userdata: int, kind: int, handle: Handle) -> None:
        self.userdata = userdata
        self.kind = kind
        self.handle = handle
        self.event = handle.event(POLLIN if kind == abi.READ else POLLOUT)

    def report(self, seen: int) -> Event:
        """Return the event for what poll(2) has seen."""
        if seen & POLLNVAL:
            return self.userdata, BADF, self.kind, 0, 0
        available = self.handle.available() if self.kind == abi.READ else 1
        ended = seen & POLLHUP or not (available or self.event)
        return self.userdata, SUCCESS, self.kind, available, abi.HANGUP if ended else 0


def _subscription(guest: Guest, fields: Sequence[int]) -> Moment | Readiness:
    userdata, kind, *clock_id, subject, timeout, _precision, flags = fields
    if kind == abi.CLOCK:
        return Moment(userdata, _deadline(subject, timeout, flags))
    if kind > abi.WRITE:
        raise Errno(INVAL)
    fd = clock_id[0] & 0xFFFFFFFF if clock_id else subject
    return Readiness(userdata, kind, guest.handles[fd])


def _deadline(clock: int, timeout: int, flags: int) -> int:
    if clock > abi.MONOTONIC or flags & ~_ABSOLUTE:
        raise Errno(INVAL)
    if not flags & _ABSOLUTE:
        return time.monotonic_ns() + timeout
    if clock == abi.MONOTONIC:
        return timeout
    return time.monotonic_ns() + timeout - time.time_ns()


def _wait(wanted: Sequence[Moment | Readiness]) -> list[Event]:
    """Wait until something is due, and return its events in the order of the subscriptions."""
    waiter, events = poll(), dict[int, int]()
    for one in wanted:
        if isinstance(one, Readiness) and one.event:
            events[one.handle.fd] = events.get(one.handle.fd, 0) | one.event
    for fd, event in events.items():
        waiter.register(fd, event)
    while True:
        timeout = _timeout(wanted)
        if timeout == 0 and not events:
            seen = {}
        elif events or timeout is None:
            seen = dict(waiter.poll(None if timeout is None else timeout / 1e6))
        else:
            time.sleep(timeout / 1e9)  # to the nanosecond
            seen = {}
        if due := _due(wanted, seen):
            return due


def _timeout(wanted: Sequence[Moment | Readiness]) -> int | None:
    """Return the nanoseconds until the first deadline, None if there is none."""
    soonest = None
    now = time.monotonic_ns()
    for one in wanted:
        if isinstance(one, Moment):
            rest = min(max(0, one.deadline - now), _LONGEST)
        elif one.event:
            continue
        else:
            rest = 0
        soonest = rest if soonest is None else min(soonest, rest)
    return soonest


def _due(wanted: Sequence[Moment | Readiness], seen: dict[int, int]) -> list[Event]:
    now = time.monotonic_ns()
    due = []
    for one in wanted:
        if isinstance(one, Moment):
            if one.deadline <= now:
                due.append((one.userdata, SUCCESS, abi.CLOCK, 0, 0))
        elif not one.event:
            due.append(one.report(0))
        elif found := seen.get(one.handle.fd, 0) & (one.event | POLLERR | POLLHUP | POLLNVAL):
            due.append(one.report(found))
    return due
