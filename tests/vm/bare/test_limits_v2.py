"""Limits in version 2's files, in a machine where every controller is on its hierarchy."""

from __future__ import annotations

import os

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.executor.limits import cgroup_limits
from runwasi.executor.usage.cgroup_usage import read_usage
from runwasi.executor.usage.usage_records import UNLIMITED
from runwasi.linux.cgroups import cgroup_at
from runwasi.oci.decode import SpecError
from runwasi.oci.resources import (
    BlockIo,
    Cpu,
    HugepageLimit,
    Memory,
    Network,
    Rdma,
    Resources,
    ThrottleDevice,
)
from tests.support.cgroups import process_in, removed_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup

pytestmark = pytest.mark.cgroup_v2
MIB = 1 << 20


def test_controllers_are_passed_down_the_whole_path(container_id: str) -> None:
    with (
        removed_after(cgroup_at(f"/{container_id}")),
        removed_after(cgroup_at(f"/{container_id}/pod/inner")) as inner,
    ):
        available = cgroup_at(f"/{container_id}").read("", "cgroup.controllers").split()
        assert {"cpu", "cpuset", "io", "memory", "pids", "hugetlb"} <= set(available)
        assert all(inner.has(controller) for controller in available)


def test_memory_and_swap_become_two_separate_limits(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=8 * MIB)))
    assert cgroup.read("memory", "memory.max") == f"{64 * MIB}\n"
    assert cgroup.read("memory", "memory.swap.max") == f"{32 * MIB}\n"
    assert cgroup.read("memory", "memory.low") == f"{8 * MIB}\n"
    cgroup_limits.update(cgroup, Resources(memory=Memory(limit=64 * MIB, swap=64 * MIB)))
    assert cgroup.read("memory", "memory.swap.max") == "0\n"
    cgroup_limits.update(cgroup, Resources(memory=Memory(limit=-1)))
    assert cgroup.read("memory", "memory.swap.max") == "max\n"
    usage = read_usage(cgroup).memory
    assert (usage.usage.limit, usage.swap.limit) == (UNLIMITED, UNLIMITED)


def test_swap_that_memory_does_not_fit_in_is_refused(cgroup: Cgroup) -> None:
    for memory in (Memory(limit=64 * MIB, swap=32 * MIB), Memory(swap=32 * MIB)):
        with pytest.raises(SpecError, match=r"^\$\.linux\.resources\.memory\.swap: "):
            cgroup_limits.apply(cgroup, Resources(memory=memory))


def test_cpu_limits_are_converted(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(cpu=Cpu(shares=1024, quota=20_000, period=50_000, burst=10_000)))
    assert cgroup.read("cpu", "cpu.weight") == "100\n"
    assert cgroup.read("cpu", "cpu.max") == "20000 50000\n"
    assert cgroup.read("cpu", "cpu.max.burst") == "10000\n"
    cgroup_limits.update(cgroup, Resources(cpu=Cpu(quota=60_000, period=50_000, burst=30_000)))
    assert cgroup.read("cpu", "cpu.max.burst") == "30000\n"
    cgroup_limits.update(cgroup, Resources(cpu=Cpu(quota=-1, burst=0)))
    assert cgroup.read("cpu", "cpu.max") == "max 50000\n"  # the period stays
    cgroup_limits.update(cgroup, Resources(cpu=Cpu(idle=1)))
    assert cgroup.read("cpu", "cpu.idle") == "1\n"


def test_huge_pages_are_limited_with_their_reservations(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),)))
    assert cgroup.read("hugetlb", "hugetlb.2MB.max") == f"{4 * MIB}\n"
    assert cgroup.read("hugetlb", "hugetlb.2MB.rsvd.max") == f"{4 * MIB}\n"
    assert read_usage(cgroup).hugetlb[0].limit in (4 * MIB, UNLIMITED)


def test_block_devices_that_do_not_exist_are_named(cgroup: Cgroup) -> None:
    throttle = (ThrottleDevice(major=240, minor=7, rate=1000),)
    with pytest.raises(ContainerError, match=r"^\$\.linux\.resources\.blockIO: write '240:7 rbps=1000' to"):
        cgroup_limits.apply(cgroup, Resources(block_io=BlockIo(throttle_read_bps_device=throttle)))
    none = (ThrottleDevice(major=240, minor=7, rate=0),)
    with pytest.raises(ContainerError, match="240:7 wiops=max"):
        cgroup_limits.apply(cgroup, Resources(block_io=BlockIo(throttle_write_iops_device=none)))


def test_an_rdma_device_that_does_not_exist_is_named(cgroup: Cgroup) -> None:
    with pytest.raises(ContainerError, match=r"^\$\.linux\.resources\.rdma: write 'mlx9_9 hca_handle=3' to"):
        cgroup_limits.apply(cgroup, Resources(rdma={"mlx9_9": Rdma(hca_handles=3)}))


def test_unified_files_are_written_as_they_are_named(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(unified={"memory.high": str(16 * MIB), "cgroup.max.depth": "3"}))
    assert cgroup.read("memory", "memory.high") == f"{16 * MIB}\n"
    assert cgroup.read("", "cgroup.max.depth") == "3\n"
    with pytest.raises(SpecError, match=r"unified\['nosuch.max'\]: cannot be set: cgroup controller nosuch"):
        cgroup_limits.apply(cgroup, Resources(unified={"nosuch.max": "1"}))
    with pytest.raises(ContainerError, match=r"unified: write 'much' to .*memory\.max"):
        cgroup_limits.apply(cgroup, Resources(unified={"memory.max": "much"}))


def test_network_classes_have_no_counterpart(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(network=Network(class_id=0x10001)))


def test_an_exec_follows_an_init_that_moved_into_a_subtree(cgroup: Cgroup) -> None:
    with process_in(cgroup, "sleep", "100") as init:
        inner = f"{cgroup.paths()['']}/init"
        os.mkdir(inner)
        for pid in cgroup.pids():
            with open(f"{inner}/cgroup.procs", "w", encoding="utf-8") as file:
                file.write(str(pid))
        cgroup.write("", "cgroup.subtree_control", "+memory")
        with pytest.raises(OSError, match="controllers are enabled for its children"):
            cgroup.enter(os.getpid())
        pid = os.fork()
        if pid == 0:
            cgroup.enter(0, beside=init.pid)
            with open("/proc/self/cgroup", encoding="utf-8") as own:
                os._exit(0 if own.read().endswith("/init\n") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_pressure_is_reported(cgroup: Cgroup) -> None:
    usage = read_usage(cgroup)
    for stalls in (usage.cpu.pressure, usage.memory.pressure, usage.io.pressure):
        assert stalls is not None
        assert stalls.some is not None
        assert stalls.some.total >= 0
