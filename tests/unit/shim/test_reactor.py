"""The reactor serves what is due, and nothing else."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from runwasi.shim.server.reactor import READABLE, Reactor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def reactor(errors: list[Exception]) -> Iterator[Reactor]:
    reactor = Reactor(on_error=errors.append)
    yield reactor
    reactor.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


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
