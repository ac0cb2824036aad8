"""The cgroup that an operator has made for shims: a pod's server joins it where it is, before anything else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from devtools.daemon import Daemon
from devtools.ttrpc import Peer, task_service
from devtools.waiting import until
from runwasi.linux.cgroups.hierarchies import layout
from runwasi.wire.messages import runtime_options as generic
from runwasi.wire.messages.older_options import CreateOptions
from runwasi.wire.messages.options import Options
from runwasi.wire.messages.well_known import Any
from tests.integration.conftest import BundleMaker
from tests.support.cgroups import cgroups_of
from tests.support.shim import Shim

pytestmark = pytest.mark.cgroup_v2

MESSAGES: dict[str, Callable[[str], bytes]] = {
    "runc.v1": lambda path: Options(shim_cgroup=path).encode(),
    "linux.runc": lambda path: CreateOptions(shim_cgroup=path).encode(),
    "runtimeoptions": lambda path: generic.Options(config_body=f'ShimCgroup = "{path}"'.encode()).encode(),
}
NAMES = {
    "runc.v1": Options.NAME,
    "linux.runc": CreateOptions.NAME,
    "runtimeoptions": generic.Options.NAME,
}


def packed(message: str, path: str) -> bytes:
    return Any(type_url=NAMES[message], value=MESSAGES[message](path)).encode()


MakeCgroup = Callable[[Sequence[int]], list[str]]


@pytest.fixture
def make_cgroup(session_name: str) -> Iterator[MakeCgroup]:
    """Make a cgroup in some hierarchies; returns their controllers as /proc/PID/cgroup writes them."""
    made: list[Path] = []

    def make(numbers: Sequence[int]) -> list[str]:
        chosen = [layout().hierarchies[number] for number in numbers]
        for hierarchy in chosen:
            directory = Path(hierarchy.directory(f"/{session_name}-shims"))
            directory.mkdir()
            made.append(directory)
            for file in ("cpuset.cpus", "cpuset.mems") if "cpuset" in hierarchy.controllers else ():
                (directory / file).write_text((directory.parent / file).read_text())
        return [",".join(hierarchy.controllers) for hierarchy in chosen]

    yield make
    for directory in made:
        until(
            (directory / "cgroup.procs").read_text, lambda pids: not pids
        )  # the server has just been told to end
        directory.rmdir()


@pytest.fixture
def path(session_name: str) -> str:
    return f"/{session_name}-shims"


def joined(pid: int, path: str) -> list[str]:
    """The controllers whose hierarchies have a process in a path."""
    return [line.split(":")[1] for line in cgroups_of(pid) if line.split(":")[2] == path]


def hierarchies(which: str) -> list[int]:
    found = layout().hierarchies
    return list({"all": range(len(found)), "the first": [0], "the last": [len(found) - 1]}[which])


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("which", ["all", "the first", "the last"])
def test_a_server_joins_the_cgroup_wherever_it_is(
    make_cgroup: MakeCgroup,
    path: str,
    our_shim: Shim,
    bundle: BundleMaker,
    container_id: str,
    message: str,
    which: str,
) -> None:
    wanted = make_cgroup(hierarchies(which))
    address = our_shim.start(container_id, bundle(["true"]), stdin=packed(message, path))
    assert sorted(joined(server_of(address), path)) == sorted(wanted)


def test_a_server_that_the_daemon_forks_joins_it_too(
    make_cgroup: MakeCgroup,
    path: str,
    our_shim: Shim,
    bundle: BundleMaker,
    container_id: str,
    daemon: Daemon,
) -> None:
    wanted = make_cgroup(hierarchies("the first"))
    address = our_shim.start(container_id, bundle(["true"]), stdin=packed("runc.v1", path))
    assert joined(server_of(address), path) == wanted
    assert joined(daemon.pid, path) == []


def test_shared_mode_gives_such_a_pod_a_server_of_its_own(
    make_cgroup: MakeCgroup,
    path: str,
    shared_shim: Shim,
    bundle: BundleMaker,
    container_id: str,
    daemon: Daemon,
) -> None:
    wanted = make_cgroup(hierarchies("the first"))
    address = shared_shim.start(container_id, bundle(["true"]), stdin=packed("runc.v1", path))
    assert server_of(address) != daemon.pid
    assert joined(server_of(address), path) == wanted


@pytest.mark.own_server
@pytest.mark.parametrize("warm", [False, True])
def test_a_cgroup_that_is_nowhere_fails_the_start(
    path: str,
    our_shim: Shim,
    bundle: BundleMaker,
    container_id: str,
    warm: bool,
    request: pytest.FixtureRequest,
) -> None:
    if warm:
        request.getfixturevalue("daemon")
    made = bundle(["true"])
    refused = subprocess.run(
        our_shim.command(container_id, "start"),
        cwd=made.path,
        input=packed("runc.v1", path),
        capture_output=True,
        check=False,
    )
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr == (
        f"containerd-shim-wasmtime-v1: {path}: no cgroup hierarchy has this cgroup\n".encode()
    )
    assert not (made.path / "address").exists()


def server_of(address: str) -> int:
    with Peer(address) as peer:
        pid: int = task_service(peer).call("Connect", id="nobody").shim_pid
        return pid
