"""The readiness protocol between a program and the service manager."""

from __future__ import annotations

import array
import os
import socket
import threading
from typing import TYPE_CHECKING

from runwasi.cli import notify

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_readiness_is_forwarded_with_the_main_pid_and_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "state")
    (tmp_path / "state.notify/demo").mkdir(parents=True)
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
        relay = notify.relay(root, "demo")
        assert relay is not None
        answering = threading.Thread(target=_take_three, args=(manager, received))
        answering.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
            program.connect(str(tmp_path / "state.notify/demo/notify.sock"))
            program.send(b"STATUS=loading")
            assert relay.forward(42) is False
            program.send(b"STATUS=done\nREADY=1\n")
            assert relay.forward(42) is True
        answering.join()
        relay.close()
    assert received == [b"READY=1\n", b"MAINPID=42\n", b"BARRIER=1"]
    notify.remove(root, "demo")
    assert not (tmp_path / "state.notify").exists()


def _take_three(manager: socket.socket, received: list[bytes]) -> None:
    """Be the service manager: note each message, and close the barrier's descriptor."""
    for _ in range(3):
        data, control, _, _ = manager.recvmsg(100, socket.CMSG_SPACE(4))
        received.append(data)
        for _, _, payload in control:
            os.close(array.array("i", payload)[0])


def test_without_a_service_manager_nothing_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify.relay(str(tmp_path / "state"), "demo") is None
    notify.remove(str(tmp_path / "state"), "demo")
    assert list(tmp_path.iterdir()) == []
