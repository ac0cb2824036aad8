"""Whole containers under --systemd-cgroup, ours and runc's alike."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle, make_bundle
from runwasi.linux.cgroups.units import UnitManager
from tests.support import wasm
from tests.support.cgroups import cgroups_of
from tests.support.memory import until_limits_are_applied
from tests.support.runtime import Runtime

MIB = 1 << 20


@pytest.fixture(params=["runwasi", "runc"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(request.param, tmp_path / "root")
    yield runtime
    runtime.clean()


@pytest.fixture
def start(runtime: Runtime, tmp_path: Path) -> Callable[..., Bundle]:
    """Start a container of this id, detached, with these resources and annotations."""

    def run(
        container_id: str, *, path: str = "", annotations: dict[str, str] | None = None, **more: Any
    ) -> Bundle:
        made = make_bundle(tmp_path / container_id, ["sleep", "100"])
        made.linux["resources"].update(more)
        if path:
            made.linux["cgroupsPath"] = path
        made.config["annotations"] = annotations or {}
        command = runtime.command(
            "run", "--detach", "--bundle", made.write().path, container_id, options=("--systemd-cgroup",)
        )
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return made

    return run


def property_of(unit: str, name: str, interface: str = "Scope") -> Any:
    with UnitManager() as manager:
        return manager.property_of(unit, interface, name)


def test_a_container_has_its_scope_until_it_is_deleted(
    runtime: Runtime, start: Callable[..., Bundle], container_id: str
) -> None:
    start(container_id, path=f"tests.slice:pod:{container_id}", memory={"limit": 64 * MIB}, pids={"limit": 9})
    unit = f"pod-{container_id}.scope"
    (cgroup,) = cgroups_of(runtime.state(container_id)["pid"])
    assert cgroup == f"0::/tests.slice/{unit}"
    assert (property_of(unit, "MemoryMax"), property_of(unit, "TasksMax")) == (64 * MIB, 9)
    runtime("delete", "--force", container_id, options=("--systemd-cgroup",))
    with pytest.raises(ProcessLookupError):
        property_of(unit, "MemoryMax")


def test_a_container_without_a_path_is_in_the_system_slice(
    runtime: Runtime, start: Callable[..., Bundle], container_id: str
) -> None:
    start(container_id)
    (cgroup,) = cgroups_of(runtime.state(container_id)["pid"])
    assert cgroup == f"0::/system.slice/{runtime.name}-{container_id}.scope"


def test_updates_reach_systemd_and_the_files(
    runtime: Runtime, start: Callable[..., Bundle], container_id: str
) -> None:
    start(container_id, path=f"tests.slice:pod:{container_id}", memory={"limit": 64 * MIB})
    options = ("--systemd-cgroup",)
    runtime("update", "--memory", str(32 * MIB), "--pids-limit", "5", container_id, options=options)
    assert property_of(f"pod-{container_id}.scope", "MemoryMax") == 32 * MIB
    told = json.loads(runtime("events", "--stats", container_id, options=options).stdout)["data"]
    assert (told["memory"]["usage"]["limit"], told["pids"]["limit"]) == (32 * MIB, 5)


@pytest.mark.parametrize("runtime", ["runwasi"], indirect=True)
def test_a_guests_bound_follows_what_we_and_what_systemd_writes(
    runtime: Runtime, tmp_path: Path, container_id: str
) -> None:
    made = make_bundle(tmp_path / "made", ["/app.wasm", "follow"])
    wasm.grower(tmp_path).rename(made.rootfs / "app.wasm")
    made.linux["cgroupsPath"] = f"tests.slice:pod:{container_id}"
    made.linux["resources"]["memory"] = {"limit": 64 * MIB}
    command = ("run", "--detach", "--bundle", made.write().path, container_id)
    ours, theirs = os.pipe()
    started = runtime.command(*command, options=("--systemd-cgroup",))
    subprocess.run(started, check=True, stdin=subprocess.DEVNULL, stdout=theirs)
    os.close(theirs)
    pid = runtime.state(container_id)["pid"]
    update = runtime.command("update", "--memory", "128M", container_id, options=("--systemd-cgroup",))
    told = ["systemctl", "set-property", "--runtime", f"pod-{container_id}.scope", "MemoryMax=192M"]
    with open(ours) as said:
        assert next(said) == "ready\n"
        for change, bound in ((["true"], 51), (update, 115), (told, 179)):
            subprocess.run(change, check=True)
            until_limits_are_applied(pid)
            Path(f"/proc/{pid}/root/fill").touch()
            assert next(said) == f"full at {bound} MiB\n"


def test_exec_pause_and_resume_work_in_a_scope(
    runtime: Runtime, start: Callable[..., Bundle], container_id: str
) -> None:
    start(container_id, path=f"tests.slice:pod:{container_id}")
    options = ("--systemd-cgroup",)
    told = runtime("exec", container_id, "cat", "/proc/self/cgroup", options=options).stdout
    assert told == f"0::/tests.slice/pod-{container_id}.scope\n"
    runtime("pause", container_id, options=options)
    assert runtime.state(container_id)["status"] == "paused"
    runtime("resume", container_id, options=options)
    assert runtime.state(container_id)["status"] == "running"


def test_annotations_set_properties_of_the_scope(
    runtime: Runtime, start: Callable[..., Bundle], container_id: str
) -> None:
    annotations = {"org.systemd.property.TimeoutStopSec": "uint64 7"}
    start(container_id, path=f"tests.slice:pod:{container_id}", annotations=annotations)
    assert property_of(f"pod-{container_id}.scope", "TimeoutStopUSec") == 7_000_000


@pytest.mark.parametrize("runtime", ["runwasi"], indirect=True)  # runc saves no streams that are files
def test_a_restored_container_has_its_scope_and_limits_again(
    runtime: Runtime, start: Callable[..., Bundle], container_id: str
) -> None:
    path = f"tests.slice:pod:{container_id}"
    made = start(container_id, path=path, memory={"limit": 64 * MIB}, pids={"limit": 9})
    options = ("--systemd-cgroup",)
    image = str(made.path / "image")
    runtime("checkpoint", "--image-path", image, container_id, options=options)
    unit = f"pod-{container_id}.scope"
    with pytest.raises(ProcessLookupError):
        property_of(unit, "MemoryMax")
    words = ("restore", "--detach", "--bundle", made.path, "--image-path", image, container_id)
    subprocess.run(
        runtime.command(*words, options=options),
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    (cgroup,) = cgroups_of(runtime.state(container_id)["pid"])
    assert cgroup == f"0::/tests.slice/{unit}"
    assert (property_of(unit, "MemoryMax"), property_of(unit, "TasksMax")) == (64 * MIB, 9)
