"""Network devices that move into another namespace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from runwasi.linux.namespaces import CLONE_NEWNET
from runwasi.linux.netdevices import move
from runwasi.linux.process import fork_into, reap
from tests.support.in_namespaces import run_in


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def devices(pid: int) -> dict[str, dict[str, object]]:
    """Describe the devices in a process's network namespace by name."""
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-j", "address", "show"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {device["ifname"]: device for device in found}


class Neighbour:
    """A process in a network namespace of its own, to move devices to."""

    def __enter__(self) -> int:
        waiting, self.go = os.pipe()
        child = fork_into(CLONE_NEWNET)
        if child is None:
            os.close(self.go)
            os.read(waiting, 1)
            os._exit(0)
        os.close(waiting)
        self.child = child
        return child.pid

    def __exit__(self, *_: object) -> None:
        os.close(self.go)
        reap(self.child.pidfd)
        os.close(self.child.pidfd)


@pytest.fixture
def own_network() -> Iterator[None]:
    """Mark a test that does its work in a network namespace, so that the host's is not touched."""
    before = os.listdir("/sys/class/net")
    yield
    assert os.listdir("/sys/class/net") == before


def _make_device() -> None:
    ip("link", "add", "test0", "type", "veth", "peer", "name", "test1")
    ip("link", "set", "test0", "mtu", "1400", "address", "02:00:00:00:00:55")
    ip("address", "add", "10.9.8.7/24", "broadcast", "+", "dev", "test0")
    ip("address", "add", "fd00::5/64", "dev", "test0", "nodad")
    ip("address", "add", "10.9.9.1/24", "dev", "test0", "valid_lft", "100", "preferred_lft", "100")
    ip("link", "set", "test0", "up")


def test_a_device_keeps_what_it_is_under_its_new_name(own_network: None) -> None:
    def moved() -> dict[str, dict[str, object]]:
        _make_device()
        with Neighbour() as pid:
            move("test0", "eth7", pid)
            return devices(pid)

    device = run_in(CLONE_NEWNET, moved)["eth7"]
    assert device["mtu"] == 1400
    assert device["address"] == "02:00:00:00:00:55"
    assert "UP" in device["flags"]  # type: ignore[operator]
    addresses = {entry["local"] for entry in device["addr_info"] if entry["scope"] == "global"}  # type: ignore[attr-defined]
    assert addresses == {"10.9.8.7", "fd00::5"}  # the one with a lifetime was somebody's lease


def test_a_missing_device_and_a_taken_name_are_errors(own_network: None) -> None:
    def attempts() -> list[str]:
        answers = []
        with Neighbour() as pid:
            for name, new_name in (("absent", "eth0"), ("test0", "lo")):
                try:
                    move(name, new_name, pid)
                except OSError as error:
                    answers.append(f"{error.filename}: {error.strerror}")
        return answers

    def in_a_network() -> list[str]:
        _make_device()
        return attempts()

    assert run_in(CLONE_NEWNET, in_a_network) == [
        "network device absent: No such device",
        "network device lo: the name is taken in the container",
    ]
