"""A wasm container is confined beyond its namespaces, as the kernel reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.bundle import Bundle
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

ALLOW_ALL = {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.fixture
def sleeping(bundle: BundleMaker, wasi_demo_app: bytes) -> Bundle:
    """A bundle whose module sleeps, with capabilities and without no_new_privs."""
    made = bundle(["/app.wasm", "sleep", "100"], files={"/app.wasm": wasi_demo_app})
    made.process["noNewPrivileges"] = False
    return made.write()


def status_of(runtime: Runtime, made: Bundle, container_id: str) -> dict[str, str]:
    """Run the bundle in the background and return /proc/PID/status of its process."""
    container = Detached(runtime, made.write(), container_id)
    container.run()
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.cgroup_v2
def test_a_module_runs_without_privileges_behind_a_filter(
    runwasi: Runtime, sleeping: Bundle, container_id: str
) -> None:
    status = status_of(runwasi, sleeping, container_id)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert (status["Seccomp"], status["Seccomp_filters"]) == ("2", "1")


def test_annotations_that_the_node_allows_turn_the_parts_off(
    runwasi: Runtime, sleeping: Bundle, container_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations = {"io.runwasi.unsafe.capabilities": "spec", "io.runwasi.unsafe.seccomp": "unconfined"}
    (folder / "node.toml").write_text(f"unsafe_annotations = {list(annotations)}")
    monkeypatch.setenv("RUNWASI_CONFIG", str(folder / "node.toml"))
    sleeping.config["annotations"] = annotations
    status = status_of(runwasi, sleeping, container_id)
    assert int(status["CapEff"], 16) == 1 << 29 | 1 << 10 | 1 << 5  # what the bundle lists
    assert status["Seccomp"] == "0"


def test_a_filter_of_the_spec_takes_the_place_of_ours(
    runwasi: Runtime, sleeping: Bundle, container_id: str
) -> None:
    sleeping.linux["seccomp"] = ALLOW_ALL
    assert status_of(runwasi, sleeping, container_id)["Seccomp_filters"] == "1"


def test_a_native_program_keeps_what_the_spec_gives(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.process["noNewPrivileges"] = False
    status = status_of(runwasi, made, container_id)
    assert int(status["CapEff"], 16) == 1 << 29 | 1 << 10 | 1 << 5
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("0", "0")


def test_the_runtimes_process_cannot_be_looked_into_from_the_container(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str
) -> None:
    made = bundle(["/app.wasm", "sleep", "100"], files={"/app.wasm": wasi_demo_app})
    Detached(runwasi, made, container_id).run()
    for path in ("/proc/1/exe", "/proc/1/root", "/proc/1/cwd", "/proc/1/environ", "/proc/1/maps"):
        seen = runwasi("exec", container_id, "/bin/sh", "-c", f"head -c1 {path} || ls {path}/", check=False)
        assert seen.returncode != 0, path
        assert "ermission denied" in seen.stderr, path
