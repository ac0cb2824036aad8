"""The systemd driver on a host that systemd runs: scopes, what systemd knows of them, and their end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runwasi.executor.limits import cgroup_limits, limits_systemd
from runwasi.linux.cgroups import cgroup_at, cgroup_from
from runwasi.linux.cgroups.units import UnitManager
from runwasi.linux.waiting import finish
from runwasi.oci.resources import Cpu, Memory, Pids, Resources
from tests.support.cgroups import cgroups_of, run_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup

MIB = 1 << 20


@pytest.fixture
def scope() -> Iterator[Cgroup]:
    scope = cgroup_at("runwasi-tests.slice:runwasi:one", systemd=True)
    yield scope
    if os.path.exists(scope.paths()[""]):
        scope.kill()
    finish(scope.remove())


@contextmanager
def process_in(scope: Cgroup) -> Iterator[subprocess.Popen[bytes]]:
    """A process that its parent puts in, as a runtime does."""
    with subprocess.Popen(["sleep", "100"]) as process:
        try:
            scope.enter(process.pid)
            yield process
        finally:
            process.kill()


def of_scope(unit: str, name: str) -> Any:
    with UnitManager() as manager:
        return manager.property_of(unit, "Scope", name)


def test_the_first_process_brings_the_scope_in_its_slice(scope: Cgroup) -> None:
    with process_in(scope) as process:
        within = "/runwasi.slice/runwasi-tests.slice/runwasi-one.scope"
        assert cgroups_of(process.pid) == [f"0::{within}"]
        assert scope.paths() == {"": f"/sys/fs/cgroup{within}"}
        assert of_scope(scope.unit, "ControlGroup") == within
        assert of_scope(scope.unit, "Delegate") is True
        assert scope.pids() == [process.pid]


def test_a_second_process_enters_the_same_scope(scope: Cgroup) -> None:
    with process_in(scope) as one:
        again = cgroup_from(scope.paths(), systemd=True)
        assert again.unit == scope.unit
        with process_in(again) as other:
            assert sorted(again.pids()) == sorted([one.pid, other.pid])


def test_limits_are_in_the_files_and_known_to_systemd(scope: Cgroup) -> None:
    resources = Resources(
        memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=16 * MIB),
        cpu=Cpu(shares=512, quota=25_500, period=50_000, cpus="0", mems="0"),
        pids=Pids(limit=20),
        unified={"memory.high": str(48 * MIB)},
    )
    with process_in(scope):
        cgroup_limits.apply(scope, resources)
        known = {
            "MemoryMax": 64 * MIB,
            "MemoryLow": 16 * MIB,
            "MemoryHigh": 48 * MIB,
            "CPUWeight": 59,
            "CPUQuotaPerSecUSec": 510_000,
            "CPUQuotaPeriodUSec": 50_000,
            "TasksMax": 20,
        }
        assert {name: of_scope(scope.unit, name) for name in known} == known
        assert int.from_bytes(of_scope(scope.unit, "AllowedCPUs"), "little") == 1
        assert scope.read("memory", "memory.max") == f"{64 * MIB}\n"
        assert scope.read("cpu", "cpu.max") == "25500 50000\n"
        assert scope.read("pids", "pids.max") == "20\n"
        cgroup_limits.update(scope, Resources(memory=Memory(limit=32 * MIB, swap=-1), pids=Pids(limit=-1)))
        assert of_scope(scope.unit, "MemoryMax") == 32 * MIB
        assert scope.read("memory", "memory.max") == f"{32 * MIB}\n"
        assert scope.read("pids", "pids.max") == "max\n"


def test_device_rules_hold_in_a_scope(scope: Cgroup) -> None:
    with process_in(scope):
        cgroup_limits.apply(scope, None)
        assert run_in(scope, lambda: os.open("/dev/kmsg", os.O_RDONLY)) == 1  # EPERM
        assert run_in(scope, lambda: os.open("/dev/null", os.O_RDWR)) == 0


def test_frozen_processes_are_killed_and_the_scope_goes(scope: Cgroup) -> None:
    with process_in(scope) as process:
        finish(scope.freeze())
        scope.kill()
        assert process.wait(10) == -9
    finish(scope.remove())
    assert not os.path.exists(scope.paths()[""])
    with UnitManager() as manager, pytest.raises(ProcessLookupError):
        manager.property_of(scope.unit, "Scope", "ControlGroup")
    finish(scope.remove())


def test_a_scope_of_a_name_in_use_is_refused(scope: Cgroup) -> None:
    with process_in(scope):
        other = cgroup_at("runwasi-tests.slice:runwasi:one", systemd=True)
        with pytest.raises(FileExistsError, match=r"runwasi-one\.scope"):
            other.enter(os.getpid())


def test_annotations_become_properties(scope: Cgroup) -> None:
    annotations = {
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.Documentation": "['man:sleep(1)']",
        "other": "ignored",
    }
    properties = limits_systemd.annotated(annotations)
    scope = cgroup_at("runwasi-tests.slice:runwasi:one", systemd=True, properties=properties)
    with process_in(scope):
        assert of_scope(scope.unit, "TimeoutStopUSec") == 7_000_000
        with UnitManager() as manager:
            assert manager.property_of(scope.unit, "Unit", "CollectMode") == "inactive-or-failed"
            assert manager.property_of(scope.unit, "Unit", "Documentation") == ["man:sleep(1)"]


def test_an_empty_slice_is_the_systems() -> None:
    scope = cgroup_at("::alone", systemd=True)
    assert scope.paths() == {"": "/sys/fs/cgroup/system.slice/runwasi-alone.scope"}
