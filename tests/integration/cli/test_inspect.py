"""list, ps, events, pause, resume and update."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime


@pytest.fixture
def container(oci_runtime: Runtime, bundle: BundleMaker, container_id: str) -> Detached:
    """A running container of ours and of runc's, with limits."""
    made = bundle(["sleep", "1000"])
    made.linux["cgroupsPath"] = f"/{container_id}"
    made.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    detached = Detached(oci_runtime, made.write(), container_id)
    detached.run()
    return detached


def test_list_is_a_table_that_scripts_can_read(container: Detached) -> None:
    title, line = container.runtime("list").stdout.splitlines()
    assert re.fullmatch(r"ID +PID +STATUS +BUNDLE +CREATED +OWNER", title)
    identifier, pid, status, bundle, created, owner = line.split()
    assert identifier == container.id
    assert (int(pid), status, bundle) == (container.pid, "running", str(container.bundle.path))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created)
    assert owner == pwd.getpwuid(os.geteuid()).pw_name
    assert [title.index(word) for word in ("PID", "STATUS")] == [line.index(pid), line.index(status)]


def test_list_in_other_forms(container: Detached) -> None:
    assert container.runtime("list", "--quiet").stdout == f"{container.id}\n"
    (item,) = json.loads(container.runtime("list", "--format", "json").stdout)
    assert (item["id"], item["status"], item["pid"]) == (container.id, "running", container.pid)
    refused = container.runtime("list", "--format", "xml", check=False)
    assert refused.returncode == 1
    assert "invalid format option" in refused.stderr


def test_list_of_a_root_that_does_not_exist_is_an_error_when_it_was_asked_for(runwasi: Runtime) -> None:
    # As under runc from 1.2 on.
    assert runwasi("list", check=False).returncode == 1


def test_ps_shows_only_the_containers_processes(container: Detached) -> None:
    title, line = container.runtime("ps", container.id).stdout.splitlines()
    assert "PID" in title.split()
    assert str(container.pid) in line.split()
    assert "sleep" in line
    assert json.loads(container.runtime("ps", "--format", "json", container.id).stdout) == [container.pid]
    other = container.runtime("ps", container.id, "-o", "comm,pid").stdout
    assert other.split() == ["COMMAND", "PID", "sleep", str(container.pid)]


def test_events_tell_usage_once(container: Detached) -> None:
    event = json.loads(container.runtime("events", "--stats", container.id).stdout)
    assert (event["type"], event["id"]) == ("stats", container.id)
    data = event["data"]
    assert data["pids"] == {"current": 1, "limit": 50}
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert 0 < data["memory"]["usage"]["usage"] < 64 << 20
    assert data["cpu"]["usage"]["total"] > 0


def test_events_go_on_until_the_container_ends(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    # runc 1.1 goes on for as long as nobody has reaped the container's first process.
    container = Detached(runwasi, bundle(["sleep", "1000"]), container_id)
    container.run()
    command = container.runtime.command("events", "--interval", "100ms", container.id)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        assert first["type"] == second["type"] == "stats"
        runwasi("kill", container.id, "KILL")
        assert watching.wait(30) == 0


def test_events_tell_of_running_out_of_memory(
    runwasi: Runtime, bundle: BundleMaker, new_id: Callable[[], str], folder: Path
) -> None:
    made = bundle(
        ["sh", "-c", "read go; (head -c 100000000 /dev/zero | tail -c 90000000 >/dev/null); sleep 5"]
    )
    made.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    container = Detached(runwasi, made.write(), new_id())
    os.mkfifo(folder / "go")
    gate = os.open(folder / "go", os.O_RDWR)
    container.run(stdin=gate)
    command = runwasi.command("events", "--interval", "50ms", container.id)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["type"] == "stats"
        os.write(gate, b"go\n")
        kinds = set()
        for line in watching.stdout:
            kinds.add(json.loads(line)["type"])
            if "oom" in kinds:
                break
        assert "oom" in kinds
        runwasi("delete", "--force", container.id)
        watching.stdout.read()
        assert watching.wait(30) == 0
    os.close(gate)


def test_a_paused_container_stands_still_until_it_is_resumed(container: Detached) -> None:
    container.runtime("pause", container.id)
    assert container.status == "paused"
    refused = container.runtime("pause", container.id, check=False)
    assert refused.returncode == 1
    container.runtime("resume", container.id)
    assert container.status == "running"


def test_a_paused_container_can_be_killed_and_deleted(container: Detached) -> None:
    container.runtime("pause", container.id)
    container.runtime("delete", "--force", container.id)
    assert container.runtime("list", "-q").stdout == ""


def limits(container: Detached) -> dict[str, str]:
    """Read the limits of a container's cgroup where the kernel keeps them, v1 or v2."""
    places = {
        "memory": ("memory/{}/memory.limit_in_bytes", "{}/memory.max"),
        "pids": ("pids/{}/pids.max", "{}/pids.max"),
        "quota": ("cpu/{}/cpu.cfs_quota_us", "{}/cpu.max"),
        "shares": ("cpu/{}/cpu.shares", "{}/cpu.weight"),
    }
    found = {}
    for name, paths in places.items():
        for path in paths:
            file = Path("/sys/fs/cgroup", path.format(container.id))
            if file.exists():
                found[name] = file.read_text().split()[0]
    return found


def test_options_change_limits_and_leave_the_others(container: Detached) -> None:
    container.runtime("update", "--memory", "32M", "--pids-limit", "20", "--cpu-quota", "50000", container.id)
    found = limits(container)
    assert (found["memory"], found["pids"], found["quota"]) == (str(32 << 20), "20", "50000")
    container.runtime("update", "--pids-limit", "30", container.id)
    found = limits(container)
    assert (found["memory"], found["pids"], found["quota"]) == (str(32 << 20), "30", "50000")


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_document_changes_limits(container: Detached, folder: Path, source: str) -> None:
    document = json.dumps({"memory": {"limit": 48 << 20}, "cpu": {"quota": 40000, "period": 100000}})
    (folder / "resources.json").write_text(document)
    if source == "file":
        container.runtime("update", "--resources", folder / "resources.json", container.id)
    else:
        container.runtime("update", "-r", "-", container.id, stdin=document.encode())
    found = limits(container)
    assert (found["memory"], found["quota"]) == (str(48 << 20), "40000")


def test_shares_of_caches_need_a_group_that_has_some(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    Detached(runwasi, bundle(["sleep", "100"]), container_id).run()
    refused = runwasi("update", "--l3-cache-schema", "L3:0=f", container_id, check=False)
    assert refused.returncode == 1
    assert "updating a non-existent Intel RDT configuration is not supported" in refused.stderr


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"memory": {"limit": "1"}}, "$.memory.limit: must be an integer, not a string"),
        ({"cpu": {"cpus": "x"}}, "$.cpu.cpus: must be a list like 0-3,7"),
        ({"pids": {}}, "$.pids.limit: is required"),
    ],
)
def test_a_document_with_a_mistake_changes_nothing(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, document: object, path: str
) -> None:
    container = Detached(runwasi, bundle(["sleep", "100"]), container_id)
    container.run()
    refused = runwasi("update", "-r", "-", container_id, check=False, stdin=json.dumps(document).encode())
    assert refused.returncode == 1
    assert path in refused.stderr
