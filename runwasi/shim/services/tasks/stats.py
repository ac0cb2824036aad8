"""Translates a container's usage into containerd's metrics of cgroup version 1 or 2.

CPU times are nanoseconds in version 1 and microseconds in version 2; memory is bytes.
"""

from __future__ import annotations

from runwasi.executor.usage.usage_records import IO_TABLES
from runwasi.shim.server.events import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runwasi.executor.usage.usage_records import IoUsage, MemoryEntry, Stalls, Usage
    from runwasi.wire.messages import cgroups_v1, cgroups_v2
    from runwasi.wire.messages.well_known import Any

# Names of memory.stat in metrics of version 1; each also has a form with total_ in front.
_V1_MEMORY = {
    "cache": "cache",
    "rss": "rss",
    "rss_huge": "rss_huge",
    "mapped_file": "mapped_file",
    "dirty": "dirty",
    "writeback": "writeback",
    "pgpgin": "pg_pg_in",
    "pgpgout": "pg_pg_out",
    "pgfault": "pg_fault",
    "pgmajfault": "pg_maj_fault",
    "inactive_anon": "inactive_anon",
    "active_anon": "active_anon",
    "inactive_file": "inactive_file",
    "active_file": "active_file",
    "unevictable": "unevictable",
}
# Version 2: (the table of IoUsage, its op) -> the entry's member.
_V2_IO = {
    ("io_service_bytes_recursive", "Read"): "rbytes",
    ("io_service_bytes_recursive", "Write"): "wbytes",
    ("io_serviced_recursive", "Read"): "rios",
    ("io_serviced_recursive", "Write"): "wios",
}


def metrics(usage: Usage) -> Any:
    """Return usage as an Any of io.containerd.cgroups.v1.Metrics or v2.Metrics, whichever the host has."""
    return pack(_metrics_v1(usage) if usage.version == 1 else _metrics_v2(usage))


def _metrics_v1(usage: Usage) -> cgroups_v1.Metrics:
    from runwasi.wire.messages import cgroups_v1 as v1  # late: a host has one version

    cpu = usage.cpu
    return v1.Metrics(
        hugetlb=[
            v1.HugetlbStat(usage=page.usage, max=page.max, failcnt=page.failcnt, pagesize=page.page_size)
            for page in usage.hugetlb
        ],
        pids=v1.PidsStat(current=usage.pids.current, limit=usage.pids.limit),
        cpu=v1.CPUStat(
            usage=v1.CPUUsage(total=cpu.total, kernel=cpu.kernel, user=cpu.user, per_cpu=cpu.percpu),
            throttling=v1.Throttle(
                periods=cpu.periods,
                throttled_periods=cpu.throttled_periods,
                throttled_time=cpu.throttled_time,
            ),
        ),
        memory=_memory_v1(usage),
        blkio=_blkio_v1(usage.io),
        rdma=v1.RdmaStat(
            current=[v1.RdmaEntry(**vars(entry)) for entry in usage.rdma_current],
            limit=[v1.RdmaEntry(**vars(entry)) for entry in usage.rdma_limit],
        ),
        memory_oom_control=v1.MemoryOomControl(**_known(v1.MemoryOomControl.FIELDS, usage.memory.events)),
    )


def _memory_v1(usage: Usage) -> cgroups_v1.MemoryStat:
    from runwasi.wire.messages import cgroups_v1 as v1

    memory = usage.memory
    numbers = {ours: memory.raw.get(theirs, 0) for theirs, ours in _V1_MEMORY.items()}
    numbers |= {f"total_{ours}": memory.raw.get(f"total_{theirs}", 0) for theirs, ours in _V1_MEMORY.items()}

    def entry(account: MemoryEntry) -> v1.MemoryEntry:
        return v1.MemoryEntry(
            limit=account.limit, usage=account.usage, max=account.max, failcnt=account.failcnt
        )

    return v1.MemoryStat(
        **numbers,
        hierarchical_memory_limit=memory.raw.get("hierarchical_memory_limit", 0),
        hierarchical_swap_limit=memory.raw.get("hierarchical_memsw_limit", 0),
        usage=entry(memory.usage),
        swap=entry(memory.swap),
        kernel=entry(memory.kernel),
        kernel_tcp=entry(memory.kernel_tcp),
    )


def _blkio_v1(usage: IoUsage) -> cgroups_v1.BlkIOStat:
    from runwasi.wire.messages import cgroups_v1 as v1

    tables = {
        table: [
            v1.BlkIOEntry(op=entry.op, major=entry.major, minor=entry.minor, value=entry.value)
            for entry in getattr(usage, table)
        ]
        for table in IO_TABLES
    }
    return v1.BlkIOStat(**tables)


def _metrics_v2(usage: Usage) -> cgroups_v2.Metrics:
    from runwasi.wire.messages import cgroups_v2 as v2  # late: a host has one version

    cpu = usage.cpu
    return v2.Metrics(
        pids=v2.PidsStat(current=usage.pids.current, limit=usage.pids.limit),
        cpu=v2.CPUStat(
            usage_usec=cpu.total // 1000,
            user_usec=cpu.user // 1000,
            system_usec=cpu.kernel // 1000,
            nr_periods=cpu.periods,
            nr_throttled=cpu.throttled_periods,
            throttled_usec=cpu.throttled_time // 1000,
            psi=_pressure(cpu.pressure),
            nr_bursts=cpu.bursts,
            burst_usec=cpu.burst_time // 1000,
        ),
        memory=_memory_v2(usage),
        rdma=v2.RdmaStat(
            current=[v2.RdmaEntry(**vars(entry)) for entry in usage.rdma_current],
            limit=[v2.RdmaEntry(**vars(entry)) for entry in usage.rdma_limit],
        ),
        io=v2.IOStat(usage=_io_v2(usage.io), psi=_pressure(usage.io.pressure)),
        hugetlb=[
            v2.HugeTlbStat(current=page.usage, max=page.limit, pagesize=page.page_size, failcnt=page.failcnt)
            for page in usage.hugetlb
        ],
        memory_events=v2.MemoryEvents(**_known(v2.MemoryEvents.FIELDS, usage.memory.events)),
    )


def _memory_v2(usage: Usage) -> cgroups_v2.MemoryStat:
    from runwasi.wire.messages import cgroups_v2 as v2

    memory = usage.memory
    known = _known(v2.MemoryStat.FIELDS, memory.raw)
    for name in ("refault", "activate"):  # separate counts for anonymous and file pages since Linux 5.9
        key = f"workingset_{name}"
        known[key] = known.get(key, 0) + memory.raw.get(f"{key}_anon", 0) + memory.raw.get(f"{key}_file", 0)
    known |= {
        "usage": memory.usage.usage,
        "usage_limit": memory.usage.limit,
        "max_usage": memory.usage.max,
        "swap_usage": memory.swap_only.usage,
        "swap_limit": memory.swap_only.limit,
        "swap_max_usage": memory.swap_only.max,
    }
    return v2.MemoryStat(**known, psi=_pressure(memory.pressure))


def _io_v2(usage: IoUsage) -> list[cgroups_v2.IOEntry]:
    from runwasi.wire.messages import cgroups_v2 as v2

    devices: dict[tuple[int, int], dict[str, int]] = {}
    for (table, op), member in _V2_IO.items():
        for entry in getattr(usage, table):
            if entry.op == op:
                devices.setdefault((entry.major, entry.minor), {})[member] = entry.value
    return [v2.IOEntry(major=major, minor=minor, **numbers) for (major, minor), numbers in devices.items()]


def _pressure(stalls: Stalls | None) -> cgroups_v2.PSIStats | None:
    from runwasi.wire.messages import cgroups_v2 as v2

    if stalls is None:
        return None
    some, full = (v2.PSIData(**vars(one)) if one else None for one in (stalls.some, stalls.full))
    return v2.PSIStats(some=some, full=full)


def _known(fields: Iterable[tuple[int, str, object]], numbers: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers whose names the message has."""
    return {name: numbers[name] for _, name, _ in fields if name in numbers}
