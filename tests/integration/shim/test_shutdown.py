"""The end of a shim: no answer is lost, and its address is free for the next."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from devtools.ttrpc import CallError, Methods, Peer, task_service
from runwasi.shim.server import codes
from runwasi.wire.messages.sandbox import SANDBOX_METHODS
from tests.support.detached import wait_for_exit
from tests.support.shim import RunningShim, Shim, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import BundleMaker


@pytest.fixture
def task(our_shim: Shim, bundle: BundleMaker, container_id: str) -> Iterator[RunningShim]:
    """A shim whose container has not been created yet, and would sleep."""
    with running(our_shim, container_id, bundle(["sleep", "1000"])) as task:
        yield task


def path_of(address: str) -> str:
    return address.removeprefix("unix://")


def shut_down_sandbox(task: RunningShim) -> None:
    sandbox = Methods(task.peer, "containerd.runtime.sandbox.v1.Sandbox", SANDBOX_METHODS)
    sandbox.call("ShutdownSandbox", sandbox_id=task.id)


def shut_down_task(task: RunningShim) -> None:
    task.call("Shutdown")


@pytest.mark.own_server
@pytest.mark.parametrize("shut_down", [shut_down_task, shut_down_sandbox])
def test_a_shim_that_shuts_down_lets_its_client_close_first(task: RunningShim, shut_down: object) -> None:
    # containerd's client may take a connection that ends together with the answer for a call without one.
    assert callable(shut_down)
    shut_down(task)
    assert task.call("Connect").shim_pid == task.pid
    assert not os.path.exists(path_of(task.address))
    task.peer.close()
    wait_for_exit(task.pid)


def test_a_client_that_does_not_close_keeps_no_shim(task: RunningShim) -> None:
    task.call("Shutdown")
    began = time.monotonic()
    assert task.ended()
    assert time.monotonic() - began > 1


@pytest.mark.own_server
def test_a_shim_that_is_told_to_end_waits_for_no_client(task: RunningShim) -> None:
    began = time.monotonic()
    os.kill(task.pid, signal.SIGTERM)
    assert task.ended()
    assert time.monotonic() - began < 2


def test_a_shim_that_shuts_down_creates_nothing_more(task: RunningShim) -> None:
    task.call("Shutdown")
    with pytest.raises(CallError) as refused:
        task.create()
    assert refused.value.code == codes.UNAVAILABLE


@pytest.mark.own_server
def test_a_pod_can_be_started_anew_while_its_old_shim_ends(task: RunningShim) -> None:
    task.call("Shutdown")
    address = task.shim.start(task.id, task.bundle)
    with Peer(address) as peer:
        new = task_service(peer)
        assert new.call("Connect", id=task.id).shim_pid != task.pid
        with contextlib.suppress(ProcessLookupError):  # where this start took as long as a shim waits
            os.kill(task.pid, signal.SIGTERM)
        wait_for_exit(task.pid)
        assert os.path.exists(path_of(address))
        new.call("Shutdown", id=task.id)


@pytest.mark.own_server
def test_a_slow_reader_gets_its_answer_from_a_shim_that_ends(task: RunningShim) -> None:
    slow = socket.socket(socket.AF_UNIX)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(path_of(task.address))
    slow.settimeout(20)
    with Peer(slow) as peer:
        calls = [peer.send("containerd.task.v2.Task", "No" * 2000, b"") for _ in range(100)]
        task.call("Shutdown")
        task.peer.close()
        for call in calls:
            with pytest.raises(CallError, match="NoNo"):
                peer.receive(call)
    wait_for_exit(task.pid)
