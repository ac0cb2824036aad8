"""Settings that only cgroup version 1 has, on a host that mounts it."""

from __future__ import annotations

import os
import subprocess
import sys
from signal import SIGKILL

import pytest

from devtools.places import ROOT
from runwasi.executor.errors import ContainerError
from runwasi.executor.limits import cgroup_limits
from runwasi.linux.cgroups import cgroup_at, join_existing, version
from runwasi.linux.cgroups.hierarchies import layout, own_paths
from runwasi.linux.waiting import finish
from runwasi.oci.decode import SpecError
from runwasi.oci.resources import Cpu, DeviceRule, Memory, Network, Resources
from tests.integration.conftest import BundleMaker
from tests.support.cgroups import cgroups_of, process_in, removed_after, run_in
from tests.support.detached import Detached
from tests.support.runtime import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup

pytestmark = pytest.mark.skipif(version() != 1, reason="this host has cgroup v2 only")
MIB = 1 << 20


def test_every_mounted_hierarchy_is_used_named_and_unified_ones_too(cgroup: Cgroup) -> None:
    mounted = {name for hierarchy in layout().hierarchies for name in hierarchy.controllers}
    assert set(cgroup.paths()) == mounted
    assert mounted >= set(own_paths()) - {"perf_event", "net_cls", "net_prio", "hugetlb", "rdma", "misc"}


def test_a_group_that_has_no_cpus_yet_is_named(container_id: str) -> None:
    (cpuset,) = (hierarchy for hierarchy in layout().hierarchies if "cpuset" in hierarchy.controllers)
    directory = cpuset.directory(f"/{container_id}")
    os.mkdir(directory)
    try:
        with pytest.raises(OSError, match=r"its cpuset\.cpus or cpuset\.mems is empty"):
            join_existing(container_id)
    finally:
        os.rmdir(directory)


def test_a_relative_path_is_below_our_own_cgroup(container_id: str) -> None:
    with removed_after(cgroup_at(container_id)) as cgroup:
        own = own_paths()
        for name, path in cgroup.paths().items():
            assert path.endswith(f"{own[name].rstrip('/')}/{container_id}")


def test_new_levels_inherit_cpus_and_memory_nodes(container_id: str) -> None:
    with (
        removed_after(cgroup_at(f"/{container_id}")) as parent,
        removed_after(cgroup_at(f"/{container_id}/middle/inner")) as inner,
    ):
        for file in ("cpuset.cpus", "cpuset.mems"):
            assert inner.read("cpuset", file) == parent.read("cpuset", file) != "\n"
        assert run_in(inner, lambda: None) == 0


def test_in_a_delegated_cgroup_the_rules_for_devices_are_left_as_they_are(
    cgroup: Cgroup, container_id: str
) -> None:
    program = f"""
from runwasi.linux.cgroups import cgroup_at
from runwasi.linux.cgroups.device_rules import ANY, DeviceRule
from runwasi.linux.waiting import finish
cgroup = cgroup_at("/{container_id}/inner", rootless=True)
cgroup.create()
cgroup.set_devices([DeviceRule(False, "a", ANY, ANY, "rwm")])
print(cgroup.read("devices", "devices.list"), end="")
finish(cgroup.remove())
"""
    for path in set(cgroup.paths().values()):
        os.chown(path, 12345, 12345)
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    command = [*user, sys.executable, "-c", program]
    rules = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert rules == cgroup.read("devices", "devices.list")


def test_a_process_of_exec_may_enter_another_subtree_of_one_controller(cgroup: Cgroup) -> None:
    below = cgroup.below("extra", ["cpu"])
    with removed_after(below), process_in(below, "sleep", "100") as process:
        moved = [line for line in cgroups_of(process.pid) if line.endswith("/extra")]
        assert [line.split(":")[1] for line in moved] == ["cpu"]
        process.kill()
        process.wait()
        os.rmdir(below.paths()["cpu"])


def test_shares_beyond_the_kernels_bounds_are_refused(cgroup: Cgroup) -> None:
    with pytest.raises(SpecError, match="the minimum allowed cpu-shares is 2"):
        cgroup_limits.update(cgroup, Resources(cpu=Cpu(shares=1)))
    with pytest.raises(SpecError, match="the maximum allowed cpu-shares is 262144"):
        cgroup_limits.update(cgroup, Resources(cpu=Cpu(shares=1_000_000)))


def test_unified_needs_version_2(cgroup: Cgroup) -> None:
    with pytest.raises(SpecError, match=r"^\$\.linux\.resources\.unified: .*it needs cgroup v2"):
        cgroup_limits.apply(cgroup, Resources(unified={"memory.high": "1"}))


def test_a_denied_hole_in_a_wider_rule_is_refused_not_ignored(cgroup: Cgroup) -> None:
    rules = (
        DeviceRule(allow=True, type="c", major=1, access="rw"),
        DeviceRule(allow=False, type="c", major=1, minor=11, access="r"),
    )
    with pytest.raises(ContainerError, match=r"cannot remove c 1:11 r from c 1:\* rw"):
        cgroup_limits.apply(cgroup, Resources(devices=rules))


def test_a_memory_limit_that_cannot_be_reached_says_what_is_used(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(memory=Memory(limit=64 * MIB, swap=64 * MIB)))
    with process_in(
        cgroup, "python3", "-ISc", "x = bytearray(16 << 20); print(1, flush=True); input()"
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ContainerError, match=r"unable to set memory limit to 1048576 .current usage: "):
            cgroup_limits.update(cgroup, Resources(memory=Memory(limit=MIB)))


def test_memory_settings_of_version_1_are_set(cgroup: Cgroup) -> None:
    memory = Memory(swappiness=10, disable_oom_killer=True, reservation=MIB, use_hierarchy=True)
    cgroup_limits.apply(cgroup, Resources(memory=memory))
    assert cgroup.read("memory", "memory.swappiness") == "10\n"
    assert cgroup.read("memory", "memory.soft_limit_in_bytes") == f"{MIB}\n"
    assert "oom_kill_disable 1\n" in cgroup.read("memory", "memory.oom_control")
    cgroup_limits.update(cgroup, Resources(memory=Memory(disable_oom_killer=False, limit=64 * MIB)))
    assert "oom_kill_disable 0\n" in cgroup.read("memory", "memory.oom_control")


def test_a_controller_that_is_not_mounted_is_named(cgroup: Cgroup) -> None:
    if cgroup.has("net_cls"):
        cgroup_limits.update(cgroup, Resources(network=Network(class_id=1)))
        assert int(cgroup.read("net_cls", "net_cls.classid")) == 1
    else:
        with pytest.raises(SpecError, match=r"^\$\.linux\.resources\.network\.classID: .*net_cls"):
            cgroup_limits.update(cgroup, Resources(network=Network(class_id=1)))


def test_a_process_frozen_further_down_is_killed(cgroup: Cgroup) -> None:
    """As by an engine inside the container that has paused one of its own."""
    inner = cgroup.below("inner")
    with removed_after(inner), process_in(inner, "sleep", "100") as process:
        finish(inner.freeze())
        cgroup.kill()
        assert process.wait(10) == -SIGKILL


def test_delete_force_ends_a_process_that_somebody_froze_elsewhere(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    running = Detached(runwasi, bundle(["sleep", "100"]).write(), container_id)
    running.run()
    elsewhere = cgroup_at(f"/{container_id}-elsewhere")
    with removed_after(elsewhere):
        elsewhere.write("freezer", "cgroup.procs", str(running.pid))
        finish(elsewhere.freeze())
        runwasi("delete", "--force", container_id, timeout=10)
        elsewhere.thaw()
    assert runwasi("list", "--quiet").stdout == ""
