"""Reads usage from cgroup version 2. Source: Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

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
    UNLIMITED,
    CpusetUsage,
    CpuUsage,
    HugetlbUsage,
    IoEntry,
    IoUsage,
    MemoryEntry,
    MemoryUsage,
    Pressure,
    Stalls,
    Usage,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup

# io.stat's keys, as the table and operation that version 1 has for them.
_IO_KEYS = {
    "rbytes": ("io_service_bytes_recursive", "Read"),
    "wbytes": ("io_service_bytes_recursive", "Write"),
    "rios": ("io_serviced_recursive", "Read"),
    "wios": ("io_serviced_recursive", "Write"),
}


def read(cgroup: Cgroup) -> Usage:
    """Read everything that this kernel counts for a cgroup."""
    return Usage(
        version=2,
        cpu=_cpu(cgroup),
        cpuset=CpusetUsage(
            cpus=number_list(text(cgroup, "cpuset", "cpuset.cpus.effective")),
            mems=number_list(text(cgroup, "cpuset", "cpuset.mems.effective")),
        ),
        memory=_memory(cgroup),
        pids=pids_usage(cgroup),
        io=_io(cgroup),
        hugetlb=_hugetlb(cgroup),
        rdma_current=rdma_entries(text(cgroup, "rdma", "rdma.current")),
        rdma_limit=rdma_entries(text(cgroup, "rdma", "rdma.max")),
    )


def stalls(listing: str) -> Stalls | None:
    """Read a pressure file; None if the kernel does not account pressure (man 5 proc_pressure)."""
    found = {}
    for line in listing.splitlines():
        which, *pairs = line.split()
        values = dict(pair.split("=") for pair in pairs)
        found[which] = Pressure(
            avg10=float(values["avg10"]),
            avg60=float(values["avg60"]),
            avg300=float(values["avg300"]),
            total=int(values["total"]),
        )
    return Stalls(some=found.get("some"), full=found.get("full")) if found else None


def _cpu(cgroup: Cgroup) -> CpuUsage:
    stat = counters(text(cgroup, "cpu", "cpu.stat"))

    def nanoseconds(name: str) -> int:
        return stat.get(name, 0) * 1000

    return CpuUsage(
        total=nanoseconds("usage_usec"),
        kernel=nanoseconds("system_usec"),
        user=nanoseconds("user_usec"),
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled_time=nanoseconds("throttled_usec"),
        bursts=stat.get("nr_bursts", 0),
        burst_time=nanoseconds("burst_usec"),
        pressure=stalls(text(cgroup, "cpu", "cpu.pressure")),
    )


def _memory(cgroup: Cgroup) -> MemoryUsage:
    raw = counters(text(cgroup, "memory", "memory.stat"))
    usage, swap_only = _memory_entry(cgroup, "memory"), _memory_entry(cgroup, "memory.swap")
    unlimited = UNLIMITED in (usage.limit, swap_only.limit)
    events = counters(text(cgroup, "memory", "memory.events"))
    return MemoryUsage(
        usage=MemoryEntry(limit=usage.limit, usage=usage.usage, max=usage.max, failcnt=events.get("max", 0)),
        # The peak of the sum is unknown: the two peaks need not have coincided.
        swap=MemoryEntry(
            limit=UNLIMITED if unlimited else usage.limit + swap_only.limit,
            usage=usage.usage + swap_only.usage,
        ),
        swap_only=swap_only,
        kernel=MemoryEntry(usage=raw.get("kernel", 0)),
        cache=raw.get("file", 0),
        raw=raw,
        events=events,
        pressure=stalls(text(cgroup, "memory", "memory.pressure")),
    )


def _memory_entry(cgroup: Cgroup, prefix: str) -> MemoryEntry:
    return MemoryEntry(
        limit=number(cgroup, "memory", prefix + ".max"),
        usage=number(cgroup, "memory", prefix + ".current"),
        max=number(cgroup, "memory", prefix + ".peak"),
    )


def _io(cgroup: Cgroup) -> IoUsage:
    tables: dict[str, list[IoEntry]] = {table: [] for table, _ in _IO_KEYS.values()}
    for line in text(cgroup, "io", "io.stat").splitlines():
        device, *pairs = line.split()
        if ":" not in device:
            continue
        major, minor = map(int, device.split(":"))
        for key, _, value in (pair.partition("=") for pair in pairs):
            if key in _IO_KEYS:
                table, op = _IO_KEYS[key]
                tables[table].append(IoEntry(major=major, minor=minor, op=op, value=int(value)))
    return IoUsage(
        io_service_bytes_recursive=tuple(tables["io_service_bytes_recursive"]),
        io_serviced_recursive=tuple(tables["io_serviced_recursive"]),
        pressure=stalls(text(cgroup, "io", "io.pressure")),
    )


def _hugetlb(cgroup: Cgroup) -> tuple[HugetlbUsage, ...]:
    if not cgroup.has("hugetlb"):
        return ()
    return tuple(
        HugetlbUsage(
            page_size=size,
            usage=number(cgroup, "hugetlb", f"hugetlb.{size}.current"),
            limit=number(cgroup, "hugetlb", f"hugetlb.{size}.max"),
            failcnt=counters(text(cgroup, "hugetlb", f"hugetlb.{size}.events")).get("max", 0),
        )
        for size in page_sizes()
    )
