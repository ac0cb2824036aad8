"""A pod that ends while its daemon prepares to be replaced."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from runwasi.shim.flags import Flags
from runwasi.shim.server import pod_server
from runwasi.shim.server.events import Publisher
from runwasi.shim.server.log import Log
from runwasi.shim.server.pod_server import PodServer
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.services.calls.fetch_layers import Images
from runwasi.wire.messages.events import TaskDelete

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("held", [False, True])
def test_a_pod_that_ends_sends_its_last_event(
    held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishers: list[Publisher] = []

    class Known(Publisher):
        def __init__(self, reactor: Reactor, address: str, namespace: str, log: Log) -> None:
            super().__init__(reactor, address, namespace, log)
            publishers.append(self)

    monkeypatch.setattr(pod_server, "Publisher", Known)
    flags = Flags.parse(
        [
            "-namespace",
            "n",
            "-id",
            "p",
            "-socket",
            str(tmp_path / "pod"),
            "-ttrpc-address",
            str(tmp_path / "events"),
        ]
    )
    reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
    with socket.socket(socket.AF_UNIX) as containerd, socket.socket(socket.AF_UNIX) as listener:
        for listening, path in ((containerd, tmp_path / "events"), (listener, tmp_path / "pod")):
            listening.bind(str(path))
            listening.listen()
        containerd.setblocking(False)
        log = Log(os.open("/dev/null", os.O_WRONLY))
        pod = PodServer(
            reactor, flags, "wasmtime", Images(reactor, "wasmtime"), listener.detach(), log, {}, reactor.stop
        )
        publishers[0].publish(TaskDelete(container_id="p"))
        pod.hold_back(held)
        pod.abandon("p")
        for _ in range(3):
            reactor.call_soon(lambda: None)  # a turn that waits for nobody
            reactor.turn()
        taken, _ = containerd.accept()
        taken.close()
        reactor.close()
