"""create, start, state, kill and delete, as engines call them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devtools.waiting import until
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached, wait_for_exit
from tests.support.runtime import Runtime


@pytest.mark.cgroup_v2
def test_a_container_goes_through_its_statuses(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    container = Detached(oci_runtime, bundle(["sh", "-c", "echo hello; exec sleep 100"]), container_id)
    container.create()
    assert container.status == "created"
    assert container.output == ""
    oci_runtime("start", container_id)
    assert container.status == "running"
    until(lambda: container.output, "hello\n".__eq__)
    oci_runtime("kill", container_id, "KILL")
    container.wait()
    assert (container.status, container.pid) == ("stopped", 0)
    oci_runtime("delete", container_id)
    assert oci_runtime("state", container_id, check=False).returncode == 1
    assert oci_runtime("list", "-q").stdout == ""


def test_state_tells_what_callers_look_for(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.config["annotations"] = {"org.example.key": "value"}
    container = Detached(oci_runtime, made.write(), container_id)
    container.run()
    state = oci_runtime.state(container_id)
    assert state["ociVersion"].startswith("1.")
    assert state["id"] == container_id
    assert state["status"] == "running"
    assert state["bundle"] == str(made.path)
    assert state["rootfs"] == str(made.rootfs)
    assert state["annotations"] == {"org.example.key": "value"}
    assert Path(f"/proc/{state['pid']}/root/bin/busybox").exists()


def test_the_pid_file_holds_the_pid_that_state_tells(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    container = Detached(oci_runtime, bundle(["sleep", "100"]), container_id)
    container.create("--pid-file", str(folder / "pid"))
    assert (folder / "pid").read_text() == str(container.pid)
    assert [path.name for path in folder.glob("*pid*")] == ["pid"]


def test_a_relative_pid_file_is_where_the_caller_is(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    runwasi("run", "--bundle", bundle(["true"]).path, "--pid-file", "pid", container_id, cwd=folder)
    assert (folder / "pid").read_text().isdigit()


@pytest.mark.parametrize("signal", ["TERM", "SIGTERM", "term", "15", ""])
def test_signals_reach_the_program_by_any_name(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, signal: str
) -> None:
    program = "trap 'echo caught; exit' TERM; echo ready; while :; do sleep 0.05; done"
    container = Detached(oci_runtime, bundle(["sh", "-c", program]), container_id)
    container.run()
    while "ready" not in container.output:
        os.sched_yield()
    oci_runtime("kill", container_id, *filter(None, [signal]))
    container.wait()
    assert "caught" in container.output


@pytest.mark.cgroup_v2
def test_kill_all_reaches_every_process(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["sh", "-c", "sleep 100 & sleep 100 & wait"])
    made.linux["namespaces"] = [item for item in made.linux["namespaces"] if item["type"] != "pid"]
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    while len(json.loads(runwasi("ps", "-f", "json", container_id).stdout)) < 3:
        os.sched_yield()
    runwasi("kill", "--all", container_id, "KILL")
    container.wait()
    assert json.loads(runwasi("ps", "-f", "json", container_id).stdout) == []
    runwasi("kill", "--all", container_id, "KILL")  # of none is fine


def test_a_failing_poststart_hook_destroys_the_container(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    container = Detached(runwasi, made.write(), container_id)
    container.create()
    refused = runwasi("start", container_id, check=False)
    assert refused.returncode == 1
    assert "error running poststart hook #0: /bin/false: exit status 1" in refused.stderr
    assert "container does not exist" in runwasi("state", container_id, check=False).stderr


def test_a_created_container_is_deleted_only_by_force(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    container = Detached(runwasi, bundle(["true"]), container_id)
    container.create()
    pid = container.pid
    refused = runwasi("delete", container_id, check=False)  # runtime.md#delete: only what is stopped
    assert refused.returncode == 1
    assert "that is not stopped: created" in refused.stderr
    assert container.status == "created"
    runwasi("delete", "--force", container_id)
    wait_for_exit(pid)


def test_delete_force_takes_a_running_container_and_one_that_never_was(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    container = Detached(oci_runtime, bundle(["sleep", "100"]), container_id)
    container.run()
    oci_runtime("delete", "--force", container_id)
    oci_runtime("delete", "--force", container_id)
    assert oci_runtime("list", "-q").stdout == ""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["start"], "cannot start an already running container"),
        (["delete"], "that is not stopped"),
        (["resume"], "not paused"),
    ],
)
def test_a_running_container_refuses_start_delete_and_resume(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, command: list[str], message: str
) -> None:
    container = Detached(oci_runtime, bundle(["sleep", "100"]), container_id)
    container.run()
    refused = oci_runtime(*command, container_id, check=False)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert container.status == "running"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["start", "ID"], "cannot start a container that has stopped"),
        (["kill", "ID", "KILL"], "container not running"),
        (["pause", "ID"], "container not running"),
        (["exec", "ID", "true"], "cannot exec in a stopped container"),
    ],
)
def test_a_stopped_container_refuses_start_kill_pause_and_exec(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, command: list[str], message: str
) -> None:
    container = Detached(oci_runtime, bundle(["true"]), container_id)
    container.run()
    container.wait()
    refused = oci_runtime(*(word.replace("ID", container_id) for word in command), check=False)
    assert refused.returncode != 0
    assert message in refused.stderr


@pytest.mark.parametrize(
    "command", ["start", "state", "kill", "delete", "pause", "resume", "ps", "events", "update"]
)
def test_every_command_says_when_there_is_no_such_container(
    oci_runtime: Runtime, container_id: str, command: str
) -> None:
    refused = oci_runtime(command, container_id, check=False)
    assert refused.returncode == 1
    assert "container does not exist" in refused.stderr


def test_a_name_is_taken_until_it_is_deleted(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    container = Detached(oci_runtime, bundle(["sleep", "100"]), container_id)
    container.run()
    refused = oci_runtime("create", "--bundle", container.bundle.path, container_id, check=False)
    assert refused.returncode == 1
    assert "container with given ID already exists" in refused.stderr
    assert container.status == "running"
