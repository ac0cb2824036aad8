"""Reads usage from cgroup version 1. Source: Documentation/admin-guide/cgroup-v1/."""

from __future__ import annotations

import os

from runwasi.executor.usage.cgroup_files import (
    counters,
    number,
    number_list,
    page_sizes,
    pids_usage,
    rdma_entries,
    text,
)
from runwasi.executor.usage.usage_records import (
    IO_TABLES,
    CpusetUsage,
    CpuUsage,
    HugetlbUsage,
    IoEntry,
    IoUsage,
    MemoryEntry,
    MemoryUsage,
    Usage,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup

_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)
# CFQ's own names differ from the table's in these.
_CFQ_NAMES = {"io_time_recursive": "time_recursive"}


def read(cgroup: Cgroup) -> Usage:
    """Read everything that this kernel counts for a cgroup."""
    return Usage(
        version=1,
        cpu=_cpu(cgroup),
        cpuset=_cpuset(cgroup),
        memory=_memory(cgroup),
        pids=pids_usage(cgroup),
        io=_io(cgroup),
        hugetlb=_hugetlb(cgroup),
        rdma_current=rdma_entries(text(cgroup, "rdma", "rdma.current")),
        rdma_limit=rdma_entries(text(cgroup, "rdma", "rdma.max")),
    )


def _cpu(cgroup: Cgroup) -> CpuUsage:
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    ticks = counters(text(cgroup, "cpuacct", "cpuacct.stat"))
    throttling = counters(text(cgroup, "cpu", "cpu.stat"))
    kernel, user = _per_cpu_split(text(cgroup, "cpuacct", "cpuacct.usage_all"))
    return CpuUsage(
        total=number(cgroup, "cpuacct", "cpuacct.usage"),
        kernel=ticks.get("system", 0) * tick,
        user=ticks.get("user", 0) * tick,
        percpu=tuple(map(int, text(cgroup, "cpuacct", "cpuacct.usage_percpu").split())),
        percpu_kernel=kernel,
        percpu_user=user,
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_time=throttling.get("throttled_time", 0),
        bursts=throttling.get("nr_bursts", 0),
        burst_time=throttling.get("burst_time", 0),
    )


def _per_cpu_split(listing: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Read cpuacct.usage_all: a heading "cpu user system", then a line of numbers for each CPU."""
    rows = [line.split() for line in listing.splitlines()[1:]]
    return tuple(int(row[2]) for row in rows), tuple(int(row[1]) for row in rows)


def _cpuset(cgroup: Cgroup) -> CpusetUsage:
    return CpusetUsage(
        cpus=number_list(text(cgroup, "cpuset", "cpuset.cpus")),
        mems=number_list(text(cgroup, "cpuset", "cpuset.mems")),
        flags={name: number(cgroup, "cpuset", f"cpuset.{name}") for name in _CPUSET_FLAGS},
    )


def _memory(cgroup: Cgroup) -> MemoryUsage:
    raw = counters(text(cgroup, "memory", "memory.stat"))
    usage, swap = _memory_entry(cgroup, "memory"), _memory_entry(cgroup, "memory.memsw")
    return MemoryUsage(
        usage=usage,
        swap=swap,
        swap_only=MemoryEntry(usage=max(swap.usage - usage.usage, 0)),
        kernel=_memory_entry(cgroup, "memory.kmem"),
        kernel_tcp=_memory_entry(cgroup, "memory.kmem.tcp"),
        cache=raw.get("cache", 0),
        raw=raw,
        events=counters(text(cgroup, "memory", "memory.oom_control")),
    )


def _memory_entry(cgroup: Cgroup, prefix: str) -> MemoryEntry:
    return MemoryEntry(
        limit=number(cgroup, "memory", prefix + ".limit_in_bytes"),
        usage=number(cgroup, "memory", prefix + ".usage_in_bytes"),
        max=number(cgroup, "memory", prefix + ".max_usage_in_bytes"),
        failcnt=number(cgroup, "memory", prefix + ".failcnt"),
    )


def _io(cgroup: Cgroup) -> IoUsage:
    """Read the tables of the scheduler that keeps them: CFQ (before Linux 5.0), BFQ, else the throttler's."""
    for prefix in ("blkio.", "blkio.bfq.", "blkio.throttle."):
        tables = {
            table: _io_entries(text(cgroup, "blkio", prefix + _CFQ_NAMES.get(table, table)))
            for table in IO_TABLES
        }
        if tables["io_serviced_recursive"]:
            return IoUsage(**tables)  # type: ignore[arg-type]  # IO_TABLES has only tables
    return IoUsage()


def _io_entries(listing: str) -> tuple[IoEntry, ...]:
    """Read lines of "major:minor [op] value"; the last line, "Total value", has no device."""
    entries = []
    for line in listing.splitlines():
        device, *rest = line.split()
        if ":" in device:
            major, minor = device.split(":")
            op = rest[0] if len(rest) == 2 else ""
            entries.append(IoEntry(major=int(major), minor=int(minor), op=op, value=int(rest[-1])))
    return tuple(entries)


def _hugetlb(cgroup: Cgroup) -> tuple[HugetlbUsage, ...]:
    if not cgroup.has("hugetlb"):
        return ()
    return tuple(
        HugetlbUsage(
            page_size=size,
            usage=number(cgroup, "hugetlb", f"hugetlb.{size}.usage_in_bytes"),
            max=number(cgroup, "hugetlb", f"hugetlb.{size}.max_usage_in_bytes"),
            limit=number(cgroup, "hugetlb", f"hugetlb.{size}.limit_in_bytes"),
            failcnt=number(cgroup, "hugetlb", f"hugetlb.{size}.failcnt"),
        )
        for size in page_sizes()
    )
