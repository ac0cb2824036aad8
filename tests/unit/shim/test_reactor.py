"""The reactor serves what is due, and nothing else."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from runwasi.linux.waiting import TURN, Wait
from runwasi.shim.server.reactor import READABLE, Reactor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.linux.waiting import Operation


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def reactor(errors: list[Exception]) -> Iterator[Reactor]:
    reactor = Reactor(on_error=errors.append)
    yield reactor
    reactor.close()


def test_a_readable_descriptor_is_told(reactor: Reactor, pipe: tuple[int, int]) -> None:
    seen: list[int] = []
    reactor.watch(pipe[0], seen.append)
    os.write(pipe[1], b"x")
    reactor.turn()
    assert seen == [READABLE]


def test_timers_run_in_the_order_they_are_due(reactor: Reactor) -> None:
    ran: list[str] = []
    reactor.call_later(0.02, lambda: ran.append("second"))
    reactor.call_later(0.01, lambda: ran.append("first"))
    reactor.call_later(0.03, reactor.stop)
    reactor.run()
    assert ran == ["first", "second"]


def test_a_cancelled_timer_neither_runs_nor_wakes(reactor: Reactor) -> None:
    ran: list[str] = []
    reactor.call_later(0.01, lambda: ran.append("cancelled")).cancel()
    reactor.call_later(0.1, lambda: ran.append("kept"))
    before = time.monotonic()
    reactor.turn()
    assert ran == ["kept"]
    assert time.monotonic() - before >= 0.1


def test_a_deferred_call_runs_after_the_turns_callbacks(reactor: Reactor, pipe: tuple[int, int]) -> None:
    ran: list[str] = []
    reactor.call_later(0, lambda: ran.append("timer"))
    reactor.call_soon(lambda: ran.append("soon"))
    reactor.turn()
    assert ran == ["timer", "soon"]


def test_a_failing_callback_is_reported_and_the_loop_goes_on(
    reactor: Reactor, errors: list[Exception]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    reactor.call_later(0, fail)
    reactor.call_later(0.001, reactor.stop)
    reactor.run()
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_a_descriptor_dropped_in_a_turn_gets_no_event_of_that_turn(reactor: Reactor) -> None:
    pipes = [os.pipe(), os.pipe()]
    told: list[int] = []

    def drop_both(_events: int) -> None:
        told.append(1)
        for read_end, _ in pipes:
            reactor.unwatch(read_end)

    for read_end, write_end in pipes:
        os.write(write_end, b"x")
        reactor.watch(read_end, drop_both)
    reactor.turn()
    assert told == [1]
    for ends in pipes:
        for fd in ends:
            os.close(fd)


# operations


class Outcome:
    """The outcome of an operation."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def __call__(self, result: object, error: Exception | None) -> None:
        self.told.append(result if error is None else error)


def reading(fd: int, log: list[str] | None = None) -> Operation[bytes]:
    try:
        yield Wait((fd,))
        return os.read(fd, 1)
    except LookupError:
        if log is not None:
            log.append("taking back")
            yield TURN
            log.append("taken back")
        raise


def test_operations_wait_side_by_side(reactor: Reactor) -> None:
    pipes = [os.pipe(), os.pipe()]
    outcomes = [Outcome(), Outcome()]
    for (read_end, _), outcome in zip(pipes, outcomes, strict=True):
        reactor.follow(reading(read_end), outcome)
    assert reactor.operations == 2
    os.write(pipes[1][1], b"b")
    reactor.turn()
    assert [outcome.told for outcome in outcomes] == [[], [b"b"]]
    os.write(pipes[0][1], b"a")
    reactor.turn()
    assert outcomes[0].told == [b"a"]
    assert reactor.operations == 0
    for ends in pipes:
        for fd in ends:
            os.close(fd)


def test_an_operations_exception_is_its_outcome(reactor: Reactor, errors: list[Exception]) -> None:
    def failing() -> Operation[None]:
        yield TURN
        raise ZeroDivisionError

    outcome = Outcome()
    following = reactor.follow(failing(), outcome)
    while not following.over:
        reactor.turn()
    assert [type(told) for told in outcome.told] == [ZeroDivisionError]
    assert not errors


def test_an_operation_that_never_waits_is_over_at_once(reactor: Reactor) -> None:
    def ready() -> Operation[int]:
        yield from ()
        return 3

    outcome = Outcome()
    assert reactor.follow(ready(), outcome).over
    assert outcome.told == [3]


def test_a_cancelled_operation_takes_back_what_it_did_once(reactor: Reactor, pipe: tuple[int, int]) -> None:
    log: list[str] = []
    outcome = Outcome()
    following = reactor.follow(reading(pipe[0], log), outcome)
    error = LookupError()
    following.cancel(error)
    following.cancel(ValueError())
    assert (log, outcome.told) == (["taking back"], [])
    reactor.turn()
    reactor.turn()
    assert (log, outcome.told) == (["taking back", "taken back"], [error])
    following.cancel(error)


def test_an_operation_is_cancelled_when_its_time_is_up(reactor: Reactor, pipe: tuple[int, int]) -> None:
    outcome = Outcome()
    error = LookupError()
    reactor.follow(reading(pipe[0]), outcome).limit(0.01, error)
    reactor.turn()
    assert outcome.told == [error]


def test_a_deadline_of_its_own_resumes_an_operation_with_nothing(
    reactor: Reactor, pipe: tuple[int, int]
) -> None:
    def waiting() -> Operation[tuple[int, ...]]:
        return (yield Wait((pipe[0],), time.monotonic() + 0.01))

    outcome = Outcome()
    reactor.follow(waiting(), outcome)
    reactor.turn()
    assert outcome.told == [()]


def test_a_deadline_in_the_past_only_looks(reactor: Reactor, pipe: tuple[int, int]) -> None:
    def looking() -> Operation[tuple[int, ...]]:
        return (yield Wait((pipe[0],), 0.0))

    os.write(pipe[1], b"x")
    outcome = Outcome()
    reactor.follow(looking(), outcome)
    reactor.turn()
    assert outcome.told == [(pipe[0],)]


def test_a_turn_serves_what_was_asked_before_it_ends(reactor: Reactor, pipe: tuple[int, int]) -> None:
    log: list[str] = []

    def giving_way() -> Operation[None]:
        yield TURN
        log.append("operation")

    def asked(_events: int) -> None:
        os.read(pipe[0], 1)
        log.append("request")

    reactor.watch(pipe[0], asked)
    reactor.follow(giving_way(), Outcome())
    os.write(pipe[1], b"x")
    for _ in range(3):
        reactor.call_soon(lambda: None)
        reactor.turn()
    assert log == ["request", "operation"]


def test_an_operation_learns_that_a_descriptor_cannot_be_watched(reactor: Reactor) -> None:
    file = os.memfd_create("file")  # epoll takes no regular file
    outcome = Outcome()
    reactor.follow(reading(file), outcome)
    os.close(file)
    assert isinstance(outcome.told[0], PermissionError)


def test_timers_that_were_cancelled_do_not_pile_up(reactor: Reactor) -> None:
    for _ in range(1000):
        reactor.call_later(600, lambda: None).cancel()
    assert len(reactor._timers) < 200


class _NoMemory:
    """An epoll descriptor that the kernel cannot wait for."""

    def poll(self, _timeout: float) -> list[tuple[int, int]]:
        raise OSError(errno.ENOMEM, "no memory")

    def close(self) -> None:
        """There is nothing to close."""


def test_a_wait_that_fails_is_reported_and_the_loop_goes_on(
    reactor: Reactor, errors: list[Exception], pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    reactor.watch(pipe[0], seen.append)
    os.write(pipe[1], b"x")
    with monkeypatch.context() as patched:
        patched.setattr(reactor, "_epoll", _NoMemory())
        reactor.turn()
    reactor.turn()
    assert seen == [READABLE]
    assert [error.errno for error in errors if isinstance(error, OSError)] == [errno.ENOMEM]


def test_waits_that_keep_failing_end_the_loop(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(reactor, "_epoll", _NoMemory())
        with pytest.raises(OSError, match="no memory"):
            reactor.run()


def test_an_operation_goes_on_whose_descriptor_is_not_registered_any_more(
    reactor: Reactor, pipe: tuple[int, int]
) -> None:
    def operation() -> Operation[str]:
        yield Wait((pipe[0],), time.monotonic() + 10)
        return "over"

    ended: list[str | None] = []
    reactor.follow(operation(), lambda result, _error: ended.append(result))
    os.write(pipe[1], b"x")
    reactor._epoll.unregister(pipe[0])
    reactor._handlers[pipe[0]](READABLE)
    assert ended == ["over"]
