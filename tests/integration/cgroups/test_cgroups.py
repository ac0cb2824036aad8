"""Cgroups on the kernel of this machine, whichever version it has; run in the virtual machine as well."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

import pytest

from devtools.places import ROOT
from runwasi.executor.limits import cgroup_limits
from runwasi.executor.usage.cgroup_usage import read_usage
from runwasi.executor.usage.usage_records import UNLIMITED
from runwasi.linux.cgroups import cgroup_at, cgroup_from
from runwasi.linux.waiting import finish
from runwasi.oci.decode import SpecError
from runwasi.oci.resources import BlockIo, Cpu, DeviceRule, Memory, Pids, Rdma, Resources, ThrottleDevice
from tests.support.cgroups import FORKS_FOR_EVER, cgroups_of, process_in, removed_after, run_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup

pytestmark = pytest.mark.cgroup_v2
MIB = 1 << 20


def test_a_cgroup_has_a_directory_in_each_hierarchy(cgroup: Cgroup, container_id: str) -> None:
    assert cgroup.paths()
    assert all(os.path.isdir(path) and path.endswith(container_id) for path in cgroup.paths().values())


def test_a_cgroup_that_somebody_else_made_is_left_out_for_a_rootless_caller(
    cgroup: Cgroup, container_id: str
) -> None:
    program = f"""
from runwasi.linux.cgroups import cgroup_at
cgroup = cgroup_at("/{container_id}", rootless=True)
cgroup.create()
print([path for path in cgroup.paths().values() if path])
"""
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    command = [*user, sys.executable, "-c", program]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_removing_leaves_no_directory_and_may_be_repeated(cgroup: Cgroup) -> None:
    finish(cgroup.remove())
    finish(cgroup.remove())
    assert not any(os.path.exists(path) for path in cgroup.paths().values())


def test_missing_parents_are_made(container_id: str) -> None:
    with (
        removed_after(cgroup_at(f"/{container_id}")) as parent,
        removed_after(cgroup_at(f"/{container_id}/pod/inner")) as inner,
    ):
        assert run_in(inner, lambda: None) == 0
        assert all(path.startswith(parent.paths()[name]) for name, path in inner.paths().items())


def test_relative_paths_stay_within_reach_of_our_own_cgroup(container_id: str) -> None:
    with removed_after(cgroup_at(container_id)) as cgroup:
        own = [line.split(":", 2)[2] for line in cgroups_of("self")]
        parents = {*own, *map(os.path.dirname, own)}
        for path in cgroup.paths().values():
            assert any(os.path.dirname(path).endswith(parent.rstrip("/")) for parent in parents)


@pytest.mark.parametrize("path", ["..", "/a/../b", "a/..", "", "/", "//", "a\nb", "a\0b"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(OSError, match=r"path of a cgroup|must not contain"):
        cgroup_at(path)


def test_a_process_is_in_every_hierarchy_it_entered(cgroup: Cgroup, container_id: str) -> None:
    with process_in(cgroup, "sleep", "100") as process:
        entered = [line for line in cgroups_of(process.pid) if line.endswith(container_id)]
        assert len(entered) == len(set(cgroup.paths().values()))
        assert cgroup.pids() == [process.pid]


def test_the_processes_of_descendants_count(cgroup: Cgroup) -> None:
    with removed_after(cgroup.below("inner")) as inner, process_in(inner, "sleep", "100") as process:
        assert cgroup.pids() == [process.pid]
        assert inner.pids() == [process.pid]


def test_a_cgroup_can_be_found_again_by_its_paths(cgroup: Cgroup) -> None:
    with process_in(cgroup, "sleep", "100") as process:
        assert cgroup_from(cgroup.paths()).pids() == [process.pid]


def test_frozen_processes_go_on_only_after_the_thaw(cgroup: Cgroup) -> None:
    with process_in(cgroup, "cat") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        finish(cgroup.freeze())
        assert cgroup.frozen()
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert not select.select([process.stdout], [], [], 0.2)[0]
        cgroup.thaw()
        assert not cgroup.frozen()
        assert process.stdout.readline() == "hello\n"


def test_freezing_and_thawing_twice_is_fine(cgroup: Cgroup) -> None:
    for _ in range(2):
        finish(cgroup.freeze())
    for _ in range(2):
        cgroup.thaw()
    assert not cgroup.frozen()


def test_killing_reaches_frozen_processes_and_those_below(cgroup: Cgroup) -> None:
    with (
        removed_after(cgroup.below("first")) as first,
        removed_after(cgroup.below("second/inner")) as inner,
        process_in(first, "sleep", "100") as one,
        process_in(inner, "sleep", "100") as other,
    ):
        finish(cgroup.freeze())
        cgroup.kill()
        assert [one.wait(10), other.wait(10)] == [-9, -9]


def test_killing_leaves_nothing_of_a_fork_bomb(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(pids=Pids(limit=20)))
    with process_in(cgroup, *FORKS_FOR_EVER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forking\n"
        cgroup.kill()
        process.wait(10)
    finish(cgroup.remove())
    assert cgroup.pids() == []


def test_killing_an_empty_or_removed_cgroup_is_fine(cgroup: Cgroup) -> None:
    cgroup.kill()
    finish(cgroup.remove())
    cgroup.kill()
    cgroup.thaw()
    assert not cgroup.frozen()


def test_removing_waits_for_dying_processes(cgroup: Cgroup) -> None:
    with process_in(
        cgroup, "python3", "-ISc", "x = bytearray(32 << 20); print(1, flush=True); input()"
    ) as one:
        assert one.stdout is not None
        one.stdout.readline()
        cgroup.kill()
        finish(cgroup.remove())
        assert not any(os.path.exists(path) for path in cgroup.paths().values())


def test_removing_takes_the_cgroups_that_a_container_made_inside(cgroup: Cgroup) -> None:
    for path in set(cgroup.paths().values()):
        os.makedirs(f"{path}/one/two")
    finish(cgroup.remove())
    assert not any(os.path.exists(path) for path in cgroup.paths().values())


def test_a_task_limit_holds(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(pids=Pids(limit=1)))
    assert run_in(cgroup, os.fork) == 11  # EAGAIN
    assert read_usage(cgroup).pids.limit == 1
    cgroup_limits.update(cgroup, Resources(pids=Pids(limit=-1)))
    assert read_usage(cgroup).pids.limit == UNLIMITED
    cgroup_limits.update(cgroup, Resources(pids=Pids(limit=0)))
    assert read_usage(cgroup).pids.limit == 1


def test_a_memory_limit_kills_and_the_kill_is_told(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(memory=Memory(limit=24 * MIB, swap=24 * MIB)))
    watch = cgroup.watch_oom()
    try:
        assert not watch.killed()
        assert run_in(cgroup, lambda: bytearray(64 * MIB)) == -9
        assert select.select([watch], [], [], 10)[0]
        assert watch.killed()
        assert not watch.killed()
    finally:
        watch.close()
    usage = read_usage(cgroup).memory
    assert usage.usage.limit == 24 * MIB
    assert usage.events["oom_kill"] == 1


def test_the_removal_of_a_cgroup_is_no_memory_kill(cgroup: Cgroup) -> None:
    watch = cgroup.watch_oom()
    finish(cgroup.remove())
    assert not watch.killed()
    watch.close()


@pytest.mark.parametrize("sizes", [(32, 64, 256), (256, 64, 32)], ids=["raising", "lowering"])
def test_memory_and_swap_limits_move_together(cgroup: Cgroup, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        cgroup_limits.update(cgroup, Resources(memory=Memory(limit=size * MIB, swap=2 * size * MIB)))
        assert read_usage(cgroup).memory.usage.limit == size * MIB
    cgroup_limits.update(cgroup, Resources(memory=Memory(limit=-1)))
    assert read_usage(cgroup).memory.usage.limit >= 1 << 62


def test_a_memory_limit_below_what_is_used_can_be_refused(cgroup: Cgroup) -> None:
    def fill() -> None:
        used = bytearray(8 * MIB)
        memory = Memory(limit=MIB, check_before_update=True)
        with pytest.raises(
            SpecError, match=r"^\$\.linux\.resources\.memory\.limit: rejecting memory limit 1048576"
        ):
            cgroup_limits.update(cgroup, Resources(memory=memory))
        memory = Memory(limit=MIB, swap=2 * MIB, check_before_update=True)
        with pytest.raises(SpecError, match=r"memory\.swap: rejecting memory\+swap limit 2097152"):
            cgroup_limits.update(cgroup, Resources(memory=memory))
        del used
        os._exit(7)

    assert run_in(cgroup, fill) == 7


def test_cpu_time_is_withheld_beyond_the_quota(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(cpu=Cpu(quota=10_000, period=100_000)))

    def spin() -> None:
        while time.process_time() < 0.06:  # several quotas, beyond what the kernel hands out ahead
            pass

    assert run_in(cgroup, spin) == 0
    usage = read_usage(cgroup).cpu
    assert usage.throttled_periods > 0
    assert usage.throttled_time > 0
    assert usage.total > 0


def test_quota_and_period_may_both_shrink_and_grow(cgroup: Cgroup) -> None:
    parent = Resources(cpu=Cpu(quota=50_000, period=100_000))
    cgroup_limits.apply(cgroup, parent)
    with removed_after(cgroup.below("inner")) as inner:
        if not inner.has("cpu"):  # v2 passes controllers down at creation only
            return
        for quota, period in ((40_000, 100_000), (4_000, 10_000), (400_000, 1_000_000), (-1, 100_000)):
            cgroup_limits.update(inner, Resources(cpu=Cpu(quota=quota, period=period)))


def test_cpus_are_restricted(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources(cpu=Cpu(cpus="0", mems="0")))
    assert run_in(cgroup, lambda: os._exit(0 if os.sched_getaffinity(0) == {0} else 1)) == 0
    assert read_usage(cgroup).cpuset.cpus == (0,)


def test_devices_are_refused_but_for_those_every_container_has(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, None)
    assert run_in(cgroup, lambda: os.open("/dev/null", os.O_RDWR)) == 0
    assert run_in(cgroup, lambda: os.open("/dev/kmsg", os.O_RDONLY)) == 1  # EPERM


def test_device_rules_apply_in_their_order_and_can_be_replaced(cgroup: Cgroup) -> None:
    def kmsg(access: str, *, allow: bool = True) -> DeviceRule:
        return DeviceRule(allow=allow, type="c", major=1, minor=11, access=access)

    def can(flags: int) -> bool:
        return run_in(cgroup, lambda: os.open("/dev/kmsg", flags | os.O_NONBLOCK)) == 0

    nothing = DeviceRule(allow=False, access="rwm")
    cgroup_limits.apply(cgroup, Resources(devices=(nothing, kmsg("r"))))
    assert (can(os.O_RDONLY), can(os.O_WRONLY), can(os.O_RDWR)) == (True, False, False)
    cgroup_limits.update(cgroup, Resources(devices=(nothing, kmsg("r"), kmsg("w"))))
    assert can(os.O_RDWR)
    cgroup_limits.update(cgroup, Resources(devices=(nothing, kmsg("rw"), kmsg("r", allow=False))))
    assert (can(os.O_RDONLY), can(os.O_WRONLY), can(os.O_RDWR)) == (False, True, False)
    cgroup_limits.update(
        cgroup, Resources(devices=(DeviceRule(allow=True, access="rwm"), kmsg("w", allow=False)))
    )
    assert (can(os.O_RDONLY), can(os.O_RDWR)) == (True, False)
    cgroup_limits.update(cgroup, Resources(devices=(kmsg("rw"), nothing)))
    assert not can(os.O_RDONLY)


def test_limits_that_are_not_asked_for_need_no_controller(cgroup: Cgroup) -> None:
    cgroup_limits.apply(cgroup, Resources())
    cgroup_limits.update(cgroup, Resources(memory=Memory(), cpu=Cpu(), block_io=BlockIo()))


def test_a_limit_without_its_controller_is_an_error_that_names_it(cgroup: Cgroup) -> None:
    without = cgroup_from({})
    for resources, path in (
        (Resources(memory=Memory(limit=MIB)), "memory"),
        (Resources(cpu=Cpu(shares=512)), "cpu"),
        (Resources(pids=Pids(limit=1)), "pids"),
        (Resources(rdma={"mlx5_1": Rdma(hca_handles=3)}), "rdma"),
        (
            Resources(block_io=BlockIo(throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1),))),
            "blockIO",
        ),
    ):
        with pytest.raises(
            SpecError,
            match=rf"^\$\.linux\.resources\.{path}: cannot set .* limit: container could not join or",
        ):
            cgroup_limits.update(without, resources)


def test_usage_of_a_cgroup_that_is_gone_is_zero(cgroup: Cgroup) -> None:
    finish(cgroup.remove())
    usage = read_usage(cgroup)
    assert (usage.cpu.total, usage.memory.usage.usage, usage.pids.current) == (0, 0, 0)


def test_usage_counts_what_was_done(cgroup: Cgroup) -> None:
    with process_in(
        cgroup, "python3", "-ISc", "x = bytearray(16 << 20); print(sum(range(10**5)), flush=True); input()"
    ) as one:
        assert one.stdout is not None
        one.stdout.readline()
        usage = read_usage(cgroup)
    assert usage.cpu.total > 1_000_000
    assert usage.memory.usage.usage >= 16 * MIB
    assert usage.memory.raw
    assert usage.pids.current == 1
