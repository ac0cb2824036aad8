"""Limits of whole containers, ours and runc's alike, on either cgroup version."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devtools.bundle import Bundle
from devtools.waiting import until
from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime

pytestmark = pytest.mark.cgroup_v2
MIB = 1 << 20


@pytest.fixture
def limited(bundle: BundleMaker, container_id: str) -> Callable[..., Bundle]:
    """A bundle with limits and a cgroup of this session's own: limited(["sleep", "9"], pids={"limit": 5})."""

    def make(arguments: list[str], **resources: Any) -> Bundle:
        made = bundle(arguments)
        made.linux["cgroupsPath"] = f"/{container_id}"
        made.linux["resources"].update(resources)
        return made.write()

    return make


@contextmanager
def running(runtime: Runtime, made: Bundle, container_id: str) -> Iterator[None]:
    command = runtime.command("run", "--detach", "--bundle", made.path, container_id)
    # The container keeps its output: a pipe would keep us waiting for its end.
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        runtime("delete", "--force", container_id)


def stats(runtime: Runtime, container_id: str) -> dict[str, Any]:
    """Return a container's usage as events --stats prints it."""
    told: dict[str, Any] = json.loads(runtime("events", "--stats", container_id).stdout)
    assert (told["type"], told["id"]) == ("stats", container_id)
    data: dict[str, Any] = told["data"]
    return data


def test_limits_are_reported_with_what_is_used(
    oci_runtime: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    made = limited(["sleep", "100"], memory={"limit": 64 * MIB}, pids={"limit": 7}, cpu={"shares": 512})
    with running(oci_runtime, made, container_id):
        # runc's start returns while its own init still has threads in there
        until(lambda: stats(oci_runtime, container_id)["pids"], {"current": 1, "limit": 7}.__eq__)
        told = stats(oci_runtime, container_id)
        assert told["memory"]["usage"]["limit"] == 64 * MIB
        assert 0 < told["memory"]["usage"]["usage"] < 64 * MIB
        assert told["memory"]["raw"]
        assert told["cpu"]["usage"]["total"] > 0


def test_limits_can_be_changed_by_flags_and_by_a_document(
    oci_runtime: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    made = limited(["sleep", "100"], memory={"limit": 64 * MIB}, pids={"limit": 7})
    with running(oci_runtime, made, container_id):
        oci_runtime("update", "--memory", str(32 * MIB), "--memory-swap", str(64 * MIB), container_id)
        assert stats(oci_runtime, container_id)["memory"]["usage"]["limit"] == 32 * MIB
        document = json.dumps(
            {"pids": {"limit": 9}, "memory": {"limit": 48 * MIB, "swap": 96 * MIB}}
        ).encode()
        oci_runtime("update", "--resources", "-", container_id, stdin=document)
        told = stats(oci_runtime, container_id)
        assert (told["memory"]["usage"]["limit"], told["pids"]["limit"]) == (48 * MIB, 9)


def test_a_container_that_takes_too_much_memory_is_killed(
    oci_runtime: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    made = limited(["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"], memory={"limit": 24 * MIB})
    made.linux["resources"]["memory"]["swap"] = 24 * MIB
    done = oci_runtime("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 137


def test_a_container_cannot_have_more_tasks_than_allowed(
    oci_runtime: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    many = "for i in 1 2 3 4 5 6 7 8 9; do sleep 9 & done 2>/dev/null || exit 5"
    made = limited(["sh", "-c", many], pids={"limit": 5})
    done = oci_runtime("run", "--bundle", made.path, container_id, check=False)
    assert done.returncode != 0


def test_a_paused_container_says_so_and_goes_on_when_resumed(
    oci_runtime: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    with running(oci_runtime, limited(["sleep", "100"]), container_id):
        oci_runtime("pause", container_id)
        assert oci_runtime.state(container_id)["status"] == "paused"
        oci_runtime("resume", container_id)
        assert oci_runtime.state(container_id)["status"] == "running"
        oci_runtime("pause", container_id)  # and is deleted by force even so


def test_every_process_of_a_container_goes_with_it(
    runwasi: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    # runc 1.1 does not wait for the others and so may leave the cgroup.
    made = limited(["sh", "-c", "sleep 100 & setsid sleep 100 & sleep 100"])
    made.linux["namespaces"] = [kind for kind in made.linux["namespaces"] if kind["type"] != "pid"]
    with running(runwasi, made.write(), container_id):
        listed = json.loads(runwasi("ps", "--format", "json", container_id).stdout)
        assert len(listed) == 3


def test_a_device_can_be_allowed(
    oci_runtime: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    for access, code in (("r", 0), ("w", 1)):
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": access},
        ]
        made = limited(
            ["sh", "-c", "mknod /dev/k c 1 11 && dd if=/dev/k of=/dev/null bs=1 count=0"], devices=rules
        )
        capabilities = made.process["capabilities"]
        for kind in ("bounding", "effective", "permitted"):
            capabilities[kind] = [*capabilities[kind], "CAP_MKNOD", "CAP_SYSLOG"]
        done = oci_runtime("run", "--bundle", made.write().path, container_id, check=False)
        assert (done.returncode, access) == (code, access)


def test_a_cgroup_namespace_shows_the_containers_own_cgroup_as_the_root(
    oci_runtime: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    made = limited(["cat", "/proc/self/cgroup"])
    made.linux["namespaces"].append({"type": "cgroup"})
    told = oci_runtime("run", "--bundle", made.write().path, container_id).stdout
    assert {line.split(":", 2)[2] for line in told.splitlines()} == {"/"}


def test_a_path_out_of_the_tree_is_refused_and_named(
    runwasi: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    made = limited(["true"])
    made.linux["cgroupsPath"] = "/../../etc"
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert "$.linux.cgroupsPath" in done.stderr
    assert ".." in done.stderr


def test_a_limit_that_cannot_be_set_leaves_nothing_behind(
    runwasi: Runtime, limited: Callable[..., Bundle], container_id: str
) -> None:
    made = limited(["true"], blockIO={"throttleReadBpsDevice": [{"major": 240, "minor": 7, "rate": 1}]})
    done = runwasi("run", "--bundle", made.path, container_id, check=False)
    assert done.returncode == 1
    assert "$.linux.resources.blockIO" in done.stderr
    assert runwasi("list", "--quiet").stdout == ""
