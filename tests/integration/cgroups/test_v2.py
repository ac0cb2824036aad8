"""Version 2's own ways, on its hierarchy: the only one, or one beside those of version 1."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runwasi.linux.cgroups.device_rules import ANY, DeviceRule
from runwasi.linux.cgroups.hierarchies import UNIFIED, layout
from runwasi.linux.cgroups.v2 import CgroupV2
from runwasi.linux.libc import SYS_CLONE3, syscall
from runwasi.linux.waiting import finish
from tests.support.cgroups import cgroups_of, process_in, removed_after, run_in

pytestmark = pytest.mark.cgroup_v2


@pytest.fixture
def cgroup(container_id: str) -> Iterator[CgroupV2]:
    unified = next(found for found in layout().hierarchies if UNIFIED in found.controllers)
    cgroup = CgroupV2(f"{unified.mount_point}/{container_id}", unified.mount_point)
    with removed_after(cgroup):
        yield cgroup


def test_a_process_can_be_cloned_right_into_it(cgroup: CgroupV2) -> None:
    doors = cgroup.doors()
    assert doors is not None
    assert doors.unified is not None
    fd = doors.unified.fileno()
    into_cgroup = 0x200000000
    arguments = b"".join(
        value.to_bytes(8, "little") for value in (into_cgroup, 0, 0, 0, 17, 0, 0, 0, 0, 0, fd)
    )
    pid = syscall(SYS_CLONE3, arguments, len(arguments))
    if pid == 0:
        os._exit(0 if f"0::/{os.path.basename(cgroup.paths()[''])}" in cgroups_of("self") else 1)
    doors.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_frozen_processes_are_killed_at_once(cgroup: CgroupV2) -> None:
    with process_in(cgroup, "sleep", "100") as process:
        finish(cgroup.freeze())
        assert cgroup.frozen()
        cgroup.kill()
        assert process.wait(10) == -9


def plain_child(cgroup: CgroupV2, name: str) -> CgroupV2:
    """A child that gets no controllers: domain controllers do not go with threads."""
    child = cgroup.below(name)
    os.mkdir(child.paths()[UNIFIED])
    return child


def test_processes_of_threaded_descendants_are_found_and_killed(cgroup: CgroupV2) -> None:
    threads = plain_child(cgroup, "threads")
    with process_in(cgroup, "sleep", "100") as process:
        threads.write("", "cgroup.type", "threaded")
        threads.write("", "cgroup.threads", str(process.pid))
        assert threads.pids() == [process.pid]
        assert set(cgroup.pids()) == {process.pid}
        threads.kill()
        assert process.wait(10) == -9


def test_a_cgroup_made_invalid_by_a_threaded_one_is_refused_with_the_reason(cgroup: CgroupV2) -> None:
    threads = plain_child(cgroup, "threads")
    threads.write("", "cgroup.type", "threaded")
    with pytest.raises(OSError, match="invalid state: a cgroup above it is threaded"):
        threads.below("invalid").create()


def test_entering_a_threaded_cgroup_says_why_not(cgroup: CgroupV2) -> None:
    plain_child(cgroup, "threads").write("", "cgroup.type", "threaded")
    other = plain_child(cgroup, "domain")
    with process_in(cgroup, "sleep", "100"), pytest.raises(OSError, match="cannot hold processes: it is thr"):
        other.enter(os.getpid())


def test_device_rules_override_each_other_access_by_access(cgroup: CgroupV2) -> None:
    def can(flags: int) -> bool:
        return run_in(cgroup, lambda: os.open("/dev/kmsg", flags | os.O_NONBLOCK)) == 0

    wide = DeviceRule(True, "c", 1, ANY, "rw")
    cgroup.set_devices([wide, DeviceRule(False, "c", 1, 11, "r")])
    assert (can(os.O_RDONLY), can(os.O_WRONLY), can(os.O_RDWR)) == (False, True, False)
    cgroup.set_devices([DeviceRule(True, "c", 1, ANY, "r"), DeviceRule(True, "a", 1, 11, "w")])
    assert can(os.O_RDWR)
    cgroup.set_devices([])
    assert not can(os.O_RDONLY)


def test_many_replacements_leave_one_device_program(cgroup: CgroupV2) -> None:
    for _ in range(70):  # the kernel attaches 64 at most
        cgroup.set_devices([DeviceRule(True, "a", ANY, ANY, "rwm")])
    assert run_in(cgroup, lambda: os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)) == 0
