"""A hostile process in a container looks at what enters beside it: exec, and containers that share its processes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from devtools.places import ROOT
from devtools.waiting import until
from runwasi.linux.capabilities import CAPABILITIES
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

TIMES = 15
USUAL = ("CAP_KILL", "CAP_NET_BIND_SERVICE")
# Without a user namespace the kernel opens every process to who has CAP_SYS_PTRACE, CAP_SYS_ADMIN or CAP_PERFMON.
MANY = ("CAP_KILL", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SETUID", "CAP_FOWNER")
ALL = tuple(CAPABILITIES)
MAPPED_FROM = 100000


@pytest.fixture(scope="module")
def onlooker(session_folder: Path) -> bytes:
    """The hostile program."""
    program = session_folder / "onlooker"
    source = ROOT / "tests/support/guests/onlooker.c"
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program.read_bytes()


@pytest.fixture(params=["the usual", "many", "all in a user namespace"])
def watched(
    request: pytest.FixtureRequest, runwasi: Runtime, bundle: BundleMaker, onlooker: bytes, container_id: str
) -> Iterator[Detached]:
    """A container that looks at whoever else is in it."""
    made = bundle(["/onlooker", "/onlooker", "/bin/busybox"], files={"/onlooker": onlooker})
    if request.param == "all in a user namespace":
        map_users(made)
        give(made, ALL)
    else:
        give(made, MANY if request.param == "many" else USUAL)
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    until(lambda: container.output, lambda output: "looking" in output)
    yield container
    runwasi("kill", container_id, "TERM")
    container.wait()
    lines = container.output.splitlines()
    assert lines[:-1] == ["looking"]
    refused = re.fullmatch(r"refused (\d+)", lines[-1])
    assert refused
    assert int(refused[1]) > 0  # it did see somebody


def give(made: Bundle, capabilities: Sequence[str]) -> None:
    made.process["capabilities"] = {
        kind: list(capabilities) for kind in ("bounding", "effective", "permitted")
    }


def map_users(made: Bundle) -> None:
    made.linux["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        made.linux[kind] = [{"containerID": 0, "hostID": MAPPED_FROM, "size": 65536}]


def test_who_enters_by_exec_cannot_be_looked_into(watched: Detached) -> None:
    # CVE-2019-5736, CVE-2024-21626: our interpreter, its memory and descriptors while it is on its way in.
    for _ in range(TIMES):
        assert watched.runtime("exec", watched.id, "true").stdout == ""


def test_who_enters_by_exec_as_another_user_cannot_be_looked_into(watched: Detached) -> None:
    for _ in range(TIMES):
        watched.runtime("exec", "--user", "1000:1000", watched.id, "true")


def test_an_init_that_joins_the_processes_cannot_be_looked_into(
    watched: Detached, bundle: BundleMaker
) -> None:
    made = bundle(["true"])
    made.config = {**watched.bundle.config, "root": {"path": str(watched.bundle.rootfs)}}
    made.config["process"] = {**watched.bundle.process, "args": ["true"]}
    joined = ("pid", "user")
    made.linux["namespaces"] = [
        {**entry, "path": f"/proc/{watched.pid}/ns/{entry['type']}"} if entry["type"] in joined else entry
        for entry in made.linux["namespaces"]
    ]
    made.write()
    for number in range(TIMES):
        watched.runtime("run", "--bundle", made.path, f"{watched.id}-{number}")
