"""Where the kernel refuses another process, the server gets an error and loses no descriptor."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from runwasi.containerd.image_helper import ImageHelper
from runwasi.executor.criu import criu_service
from runwasi.executor.parent import errands
from runwasi.executor.protocol import Channel
from runwasi.linux import processes, sockets
from runwasi.linux.fd import Fd
from runwasi.linux.waiting import finish
from runwasi.shim.server.log import Log
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.services.sandbox import pod_process
from runwasi.shim.services.sandbox.pod_process import PodNamespaces
from runwasi.shim.streams.file_copy import FileCopy
from runwasi.shim.streams.logger import Logger
from runwasi.shim.streams.outputs import SentFile


def _copy(reactor: Reactor) -> None:
    ours, theirs = map(Fd, sockets.socket_pair())
    theirs.close()
    log = Log(os.open("/dev/null", os.O_WRONLY))
    try:
        FileCopy(reactor, SentFile(ours), "log", log)
    finally:
        log.close()


def _logger(reactor: Reactor) -> None:
    Logger(reactor, "binary:///bin/true", "c", "ns", {})


def _errand(_reactor: Reactor) -> None:
    finish(errands.run(lambda: None, "nothing"))


def _listener(_reactor: Reactor) -> None:
    channel, theirs = Channel.pair()
    try:
        errands.answer_listener(channel, os.open("/dev/null", os.O_RDONLY), lambda _listener: None)
    finally:
        channel.close()
        theirs.close()


def _sandbox(_reactor: Reactor) -> None:
    finish(pod_process.start(PodNamespaces(("uts",), "", "", {}), "/"))


def _image_helper(_reactor: Reactor) -> None:
    ImageHelper("wasmtime").start()


def _criu(_reactor: Reactor) -> None:
    criu_service.CriuService()


@pytest.mark.parametrize("start", [_copy, _logger, _errand, _listener, _sandbox, _image_helper, _criu])
def test_no_descriptor_is_lost_where_no_process_can_be_made(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[Reactor], None]
) -> None:
    def refuse(*_arguments: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(processes, "fork_into", refuse)
    monkeypatch.setattr(criu_service, "_program", lambda: "/bin/true")
    reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(BlockingIOError):
        start(reactor)
    assert set(os.listdir("/proc/self/fd")) == before
    reactor.close()
