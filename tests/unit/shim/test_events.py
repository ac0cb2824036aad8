"""Events go out in order, wait for an absent containerd, and are given up when it keeps refusing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runwasi.shim.server import events
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.events import Publisher, pack
from runwasi.shim.server.log import Log
from runwasi.shim.server.reactor import Reactor
from runwasi.wire.messages.events import TaskCreate, TaskExit, TaskOOM, TaskStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runwasi.wire.messages.event_forward import ForwardRequest

    Done = Callable[[Exception | None], None]


class Containerd:
    """Stands for the client: keeps what it is asked to send, and answers as told."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.failures: list[Exception] = []
        self.silent = False

    def call(
        self, _service: str, _method: str, request: ForwardRequest, _meta: object, _timeout: float, done: Done
    ) -> None:
        assert request.envelope is not None
        if self.silent:
            return
        if self.failures:
            done(self.failures.pop(0))
        else:
            self.topics.append(request.envelope.topic)
            done(None)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
    yield reactor
    reactor.close()


@pytest.fixture
def containerd() -> Containerd:
    return Containerd()


@pytest.fixture
def publisher(
    reactor: Reactor, containerd: Containerd, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Publisher]:
    null = os.open(os.devnull, os.O_WRONLY)
    publisher = Publisher(reactor, "/nowhere", "default", Log(null))
    monkeypatch.setattr(publisher, "_client", containerd)
    yield publisher
    os.close(null)


@pytest.fixture(autouse=True)
def pauses(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each call that is due later; none is waited for."""
    asked: list[float] = []

    def call_later(seconds: float, callback: Callable[[], None]) -> None:
        asked.append(seconds)
        reactor.call_soon(callback)

    monkeypatch.setattr(reactor, "call_later", call_later)
    return asked


def turns(reactor: Reactor, count: int = 20) -> None:
    for _ in range(count):
        reactor.call_soon(lambda: None)
        reactor.turn()


def test_events_go_out_one_by_one_in_order(
    reactor: Reactor, publisher: Publisher, containerd: Containerd
) -> None:
    for event in (TaskCreate(), TaskStart(), TaskExit()):
        publisher.publish(event)
    assert publisher.waiting
    turns(reactor)
    assert containerd.topics == ["/tasks/create", "/tasks/start", "/tasks/exit"]
    assert not publisher.waiting


def test_an_absent_containerd_is_waited_for(
    reactor: Reactor, publisher: Publisher, containerd: Containerd, pauses: list[float]
) -> None:
    """At first not for long: most are away for a restart."""
    containerd.failures = [ConnectionRefusedError(111, "refused")] * 9 + [RpcError(14, "starting")]
    publisher.publish(TaskStart())
    publisher.publish(TaskExit())
    turns(reactor)
    assert containerd.topics == ["/tasks/start", "/tasks/exit"]
    assert pauses == [0.1, 0.2, 0.4, 1, 2, 5, 5, 5, 5, 1]


def test_an_event_refused_too_often_is_given_up(
    reactor: Reactor, publisher: Publisher, containerd: Containerd, pauses: list[float]
) -> None:
    containerd.failures = [RpcError(3, "no")] * 6
    publisher.publish(TaskOOM())
    publisher.publish(TaskExit())
    turns(reactor)
    assert containerd.topics == ["/tasks/exit"]
    assert pauses == [1, 2, 3, 4, 5]


def test_too_many_waiting_events_drop_the_oldest_not_under_way(
    publisher: Publisher, containerd: Containerd, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_MAX_WAITING", 2)
    containerd.silent = True
    for event in (TaskCreate(), TaskStart(), TaskExit()):
        publisher.publish(event)
    assert [envelope.topic for envelope in publisher._queue] == ["/tasks/create", "/tasks/exit"]


def test_a_drained_queue_is_told_at_once(publisher: Publisher) -> None:
    told: list[bool] = []
    publisher.drain(1, lambda: told.append(True))
    assert told == [True]


def test_types_have_no_host_in_their_url() -> None:
    assert pack(TaskExit(pid=1)).type_url == "containerd.events.TaskExit"
