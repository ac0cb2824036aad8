"""Usage read from the texts of cgroup files."""

from __future__ import annotations

import os
from typing import Any

from runwasi.executor.usage.cgroup_files import number_list
from runwasi.executor.usage.cgroup_usage import read_usage
from runwasi.executor.usage.usage_records import UNLIMITED, IoEntry, MemoryEntry, RdmaEntry

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Files:
    """A cgroup that has these files and no others."""

    def __init__(self, version: int, files: dict[str, str]) -> None:
        self.version = version
        self._files = files

    def has(self, controller: str) -> bool:
        return any(name.startswith(f"{controller}.") for name in self._files)

    def read(self, _controller: str, file: str) -> str:
        if file not in self._files:
            raise FileNotFoundError(2, "No such file or directory", file)
        return self._files[file]


def usage_of(version: int, files: dict[str, str]) -> Any:
    cgroup: Any = Files(version, files)
    return read_usage(cgroup)


def test_version_1_counts() -> None:
    usage = usage_of(
        1,
        {
            "cpuacct.usage": "123\n",
            "cpuacct.stat": "user 2\nsystem 3\n",
            "cpuacct.usage_percpu": "100 23 \n",
            "cpuacct.usage_all": "cpu user system\n0 60 40\n1 20 3\n",
            "cpu.stat": "nr_periods 5\nnr_throttled 4\nthrottled_time 3000\n",
            "memory.stat": "cache 7\nrss 8\n",
            "memory.usage_in_bytes": "50\n",
            "memory.limit_in_bytes": "100\n",
            "memory.memsw.usage_in_bytes": "60\n",
            "memory.memsw.limit_in_bytes": "200\n",
            "memory.memsw.failcnt": "2\n",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            "pids.current": "3\n",
            "pids.max": "max\n",
            "cpuset.cpus": "0-1\n",
        },
    )
    assert (usage.cpu.total, usage.cpu.user, usage.cpu.kernel) == (123, 2 * TICK, 3 * TICK)
    assert (usage.cpu.percpu, usage.cpu.percpu_user, usage.cpu.percpu_kernel) == (
        (100, 23),
        (60, 20),
        (40, 3),
    )
    assert (usage.cpu.periods, usage.cpu.throttled_periods, usage.cpu.throttled_time) == (5, 4, 3000)
    assert usage.memory.usage == MemoryEntry(limit=100, usage=50)
    assert usage.memory.swap == MemoryEntry(limit=200, usage=60, failcnt=2)
    assert usage.memory.swap_only.usage == 10
    assert (usage.memory.cache, usage.memory.raw["rss"], usage.memory.events["oom_kill"]) == (7, 8, 1)
    assert (usage.pids.current, usage.pids.limit) == (3, UNLIMITED)
    assert usage.cpuset.cpus == (0, 1)


def test_version_1_block_io_is_that_of_the_scheduler_that_counts() -> None:
    usage = usage_of(
        1,
        {
            "blkio.throttle.io_serviced_recursive": "8:0 Read 99\nTotal 99\n",
            "blkio.bfq.io_serviced_recursive": "8:0 Read 3\n8:0 Total 3\nTotal 3\n",
            "blkio.bfq.io_service_bytes_recursive": "8:0 Read 4096\nTotal 4096\n",
            "blkio.bfq.sectors_recursive": "8:0 8\n",
        },
    )
    assert usage.io.io_serviced_recursive == (
        IoEntry(major=8, minor=0, op="Read", value=3),
        IoEntry(major=8, minor=0, op="Total", value=3),
    )
    assert usage.io.io_service_bytes_recursive == (IoEntry(major=8, minor=0, op="Read", value=4096),)
    assert usage.io.sectors_recursive == (IoEntry(major=8, minor=0, value=8),)


def test_version_2_counts() -> None:
    usage = usage_of(
        2,
        {
            "cpu.stat": "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 1\nnr_throttled 1\nthrottled_usec 5\n",
            "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\n",
            "memory.stat": "anon 5\nfile 7\nkernel 3\n",
            "memory.current": "50\n",
            "memory.max": "100\n",
            "memory.peak": "80\n",
            "memory.swap.current": "10\n",
            "memory.swap.max": "20\n",
            "memory.events": "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n",
            "pids.current": "3\n",
            "pids.max": "9\n",
            "io.stat": "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n",
            "rdma.current": "mlx4_0 hca_handle=2 hca_object=max\n",
            "cpuset.cpus.effective": "1\n",
        },
    )
    assert (usage.cpu.total, usage.cpu.user, usage.cpu.kernel, usage.cpu.throttled_time) == (
        10000,
        6000,
        4000,
        5000,
    )
    assert (usage.cpu.pressure.some.avg10, usage.cpu.pressure.some.total) == (1.5, 77)
    assert usage.cpu.pressure.full is None
    assert usage.memory.usage == MemoryEntry(limit=100, usage=50, max=80, failcnt=4)
    assert usage.memory.swap == MemoryEntry(limit=120, usage=60)
    assert usage.memory.swap_only == MemoryEntry(limit=20, usage=10)
    assert (usage.memory.cache, usage.memory.kernel.usage) == (7, 3)
    assert usage.pids.limit == 9
    assert usage.io.io_service_bytes_recursive[0] == IoEntry(major=8, minor=0, op="Read", value=4096)
    assert len(usage.io.io_serviced_recursive) == 2
    assert usage.rdma_current == (RdmaEntry(device="mlx4_0", hca_handles=2, hca_objects=(1 << 32) - 1),)
    assert usage.cpuset.cpus == (1,)


def test_unlimited_memory_makes_the_sum_unlimited() -> None:
    usage = usage_of(2, {"memory.max": "max\n", "memory.swap.max": "20\n"})
    assert usage.memory.swap.limit == UNLIMITED


def test_a_kernel_without_any_controller_counts_nothing() -> None:
    for version in (1, 2):
        usage = usage_of(version, {})
        assert (usage.cpu.total, usage.memory.usage.limit, usage.io.io_serviced_recursive) == (0, 0, ())


def test_number_lists_are_expanded() -> None:
    assert number_list("0-2,7\n") == (0, 1, 2, 7)
    assert number_list("\n") == ()
