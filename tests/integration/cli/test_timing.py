"""`run --timing` and `timing` show how long the steps of a start took."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from devtools.containerd import SHARED, WASMTIME, Containerd
from devtools.waiting import until
from runwasi.executor.child.steps import INIT_STEPS
from tests.integration.conftest import BUSYBOX_IMAGE, BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import PROGRAMS, Runtime

_NAMES = [step.__name__ for step in INIT_STEPS[:-1]]  # the last one is the program


def test_run_prints_the_steps_of_parent_and_child_and_the_programs_output_is_its_own(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["echo", "out"])
    done = runwasi("run", "--timing", "--bundle", made.path, container_id)
    assert done.stdout == "out\n"
    assert "parent   start interpreter" in done.stderr
    assert "child    mount rootfs" in done.stderr
    assert "until the program runs" in done.stderr


def test_create_start_and_timing_show_every_step_that_the_child_took(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    Detached(runwasi, made, container_id).create("--timing")
    runwasi("start", container_id)
    steps = json.loads(runwasi("timing", "--format", "json", container_id).stdout)
    runwasi("delete", "--force", container_id)
    taken = [step["step"] for step in sorted(steps, key=lambda step: step["beginMilliseconds"])]
    assert [name for name in taken if name in _NAMES] == _NAMES
    assert [step["process"] for step in steps if step["step"] == "start"] == ["starter"]
    assert all(step["milliseconds"] >= 0 for step in steps)


def test_a_module_is_timed_like_a_program(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, wasi_demo_app: bytes
) -> None:
    made = bundle(["/app.wasm", "echo", "hi"], files={"/app.wasm": wasi_demo_app}, busybox=False)
    done = runwasi("run", "--timing", "--bundle", made.path, container_id)
    assert "child    anticipate engine" in done.stderr


def test_a_module_that_is_timed_outlives_the_command_that_started_it(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, wasi_demo_app: bytes
) -> None:
    made = bundle(["/app.wasm", "daemon"], files={"/app.wasm": wasi_demo_app}, busybox=False)
    container = Detached(runwasi, made, container_id)
    container.run("--timing")
    until(lambda: container.output, lambda song: "module" in song)
    assert container.status == "running"
    runwasi("delete", "--force", container_id)


def test_a_start_that_nobody_measured_says_how_to_have_it_measured(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    Detached(runwasi, made, container_id).create()
    done = runwasi("timing", container_id, check=False)
    runwasi("delete", "--force", container_id)
    assert done.returncode == 1
    assert f"timing {container_id}: container {container_id}: nobody measured its start: " in done.stderr


def test_containers_of_a_containerd_that_logs_at_debug_are_measured(
    containerd: Containerd, container_id: str
) -> None:
    with containerd.task(WASMTIME, BUSYBOX_IMAGE, container_id, "sleep", "1000"):
        root = f"/run/containerd/wasmtime/{containerd.namespace}"
        done = subprocess.run(
            [PROGRAMS["runwasi"], "--root", root, "timing", container_id],
            capture_output=True,
            text=True,
            check=True,
        )
    assert "parent   fork" in done.stdout
    assert "starter  start" in done.stdout


@pytest.mark.parametrize("runtime", [WASMTIME, SHARED])
def test_once_a_container_is_created_no_process_of_ours_holds_its_times(
    containerd: Containerd, container_id: str, runtime: str
) -> None:
    with containerd.task(runtime, BUSYBOX_IMAGE, container_id, "sleep", "1000"):
        assert _holders(f"/run/containerd/wasmtime/{containerd.namespace}/{container_id}/timing") == []


def _holders(path: str) -> list[str]:
    """Return the processes that have a file mapped."""
    found = []
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # it has ended, or is not ours to look into
            if path in maps.read_text():
                found.append((maps.parent / "cmdline").read_text().replace("\0", " "))
    return found
