"""Network devices that move into another namespace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.bundle import Bundle, in_user_namespace
from runwasi.executor.parent import equip
from runwasi.executor.undo import Undo
from runwasi.linux.namespaces import CLONE_NEWNET, open_namespace, setns
from runwasi.linux.netdevices import move
from runwasi.linux.processes import fork_into, reap
from runwasi.linux.waiting import finish
from runwasi.oci.linux import Linux, NetDevice
from tests.integration.conftest import BundleMaker
from tests.support.in_namespaces import run_in
from tests.support.runtime import Runtime


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def devices(pid: int) -> dict[str, dict[str, object]]:
    """Describe the devices in a process's network namespace by name."""
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-j", "address", "show"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {device["ifname"]: device for device in found}


class Neighbour:
    """A process in a network namespace of its own, to move devices to: its pid and the namespace."""

    def __enter__(self) -> tuple[int, int]:
        waiting, self.go = os.pipe()
        child = fork_into(CLONE_NEWNET)
        if child is None:
            os.close(self.go)
            os.read(waiting, 1)
            os._exit(0)
        os.close(waiting)
        self.child = child
        self.namespace = open_namespace(f"/proc/{child.pid}/ns/net", "net")
        return child.pid, self.namespace

    def __exit__(self, *_: object) -> None:
        os.close(self.go)
        os.close(self.namespace)
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
        with Neighbour() as (pid, namespace):
            move("test0", "eth7", namespace)
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
        with Neighbour() as (_, namespace):
            for name, new_name in (("absent", "eth0"), ("test0", "lo")):
                try:
                    move(name, new_name, namespace)
                except OSError as error:
                    answers.append(f"{error.filename}: {error.strerror}")
        return answers

    def in_a_network() -> list[str]:
        _make_device()
        return attempts()

    assert run_in(CLONE_NEWNET, in_a_network) == [
        "network device absent: No such device",
        "network device lo: the name is taken there",
    ]


class Network:
    """A network namespace for one test with the veth pair test0 and test1, to run command lines in."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, runtime: Runtime, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one of our commands in it."""
        command = ["nsenter", "-t", str(self.pid), "-n", *runtime.command(*words)]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def devices(self) -> list[str]:
        """The names of its devices."""
        return sorted(devices(self.pid))


@pytest.fixture
def network() -> Iterator[Network]:
    """A network namespace with two devices."""
    with Neighbour() as (pid, namespace):

        def make_device_there() -> None:
            setns(namespace, CLONE_NEWNET)
            _make_device()

        run_in(0, make_device_there)
        yield Network(pid)


def with_device(made: Bundle, new_name: str = "", namespace: str = "") -> Bundle:
    """Have the container take test0, in a network namespace of its own or one that is there."""
    made.linux["netDevices"] = {"test0": {"name": new_name} if new_name else {}}
    if namespace:
        kinds = [item for item in made.linux["namespaces"] if item["type"] != "network"]
        made.linux["namespaces"] = [*kinds, {"type": "network", "path": namespace}]
    return made.write()


@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_a_container_takes_a_device_under_a_name_of_its_own(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, network: Network, userns: bool
) -> None:
    made = bundle(["ip", "address", "show", "dev", "eth7"])
    if userns:
        in_user_namespace(made)
    done = network.run(runwasi, "run", "--bundle", with_device(made, "eth7").path, container_id)
    for part in ("mtu 1400", "02:00:00:00:00:55", "10.9.8.7/24", "fd00::5/64", ",UP"):
        assert part in done.stdout, done.stderr
    assert "10.9.9.1" not in done.stdout


def test_a_device_stays_in_a_namespace_that_was_there_before(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, network: Network
) -> None:
    with Neighbour() as (pid, _):
        made = with_device(bundle(["ip", "link", "show", "dev", "eth7"]), "eth7", f"/proc/{pid}/ns/net")
        done = network.run(runwasi, "run", "--bundle", made.path, container_id)
        assert "eth7" in done.stdout, done.stderr
        assert sorted(devices(pid)) == ["eth7", "lo"]
    assert "test0" not in network.devices()


@pytest.mark.parametrize("joined", [False, True], ids=["new", "joined"])
def test_a_device_returns_when_the_container_cannot_be_created(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, network: Network, joined: bool
) -> None:
    with Neighbour() as (pid, _):
        made = with_device(bundle(["/no/such/program"]), "eth7", f"/proc/{pid}/ns/net" if joined else "")
        refused = network.run(runwasi, "create", "--bundle", made.path, container_id)
    assert refused.returncode == 1
    assert "/no/such/program" in refused.stderr
    device = devices(network.pid)["test0"]
    assert {entry["local"] for entry in device["addr_info"]} >= {"10.9.8.7", "fd00::5"}  # type: ignore[attr-defined]


def test_a_name_that_the_container_has_already_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, network: Network
) -> None:
    refused = network.run(
        runwasi, "create", "--bundle", with_device(bundle(["true"]), "lo").path, container_id
    )
    assert 'network device lo: the name is taken there ($.linux.netDevices["test0"])' in refused.stderr
    assert network.devices() == ["lo", "test0", "test1"]


def test_another_process_than_the_server_moves_devices(
    network: Network, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movers = folder / "movers"

    def noted(*_arguments: object) -> None:
        with movers.open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")

    monkeypatch.setattr("runwasi.linux.netdevices.move", noted)
    monkeypatch.setattr("runwasi.linux.netdevices.move_back", noted)
    linux = Linux(net_devices={"test0": NetDevice(), "test1": NetDevice()})
    undo = Undo()
    with finish(equip._move_devices(linux, network.pid, undo)):
        finish(undo.run())
    pids = movers.read_text(encoding="ascii").split()
    assert len(pids) == 4
    assert str(os.getpid()) not in pids
