"""Generated from cgroups_v1.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import STRING, UINT, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class HugetlbStat(Message):
    """io.containerd.cgroups.v1.HugetlbStat."""

    NAME = "io.containerd.cgroups.v1.HugetlbStat"

    usage: int = 0
    max: int = 0
    failcnt: int = 0
    pagesize: str = ""

    FIELDS = (
        (1, "usage", UINT),
        (2, "max", UINT),
        (3, "failcnt", UINT),
        (4, "pagesize", STRING),
    )


class PidsStat(Message):
    """io.containerd.cgroups.v1.PidsStat."""

    NAME = "io.containerd.cgroups.v1.PidsStat"

    current: int = 0
    limit: int = 0

    FIELDS = (
        (1, "current", UINT),
        (2, "limit", UINT),
    )


class CPUUsage(Message):
    """io.containerd.cgroups.v1.CPUUsage."""

    NAME = "io.containerd.cgroups.v1.CPUUsage"

    total: int = 0
    kernel: int = 0
    user: int = 0
    per_cpu: Sequence[int] = ()

    FIELDS = (
        (1, "total", UINT),
        (2, "kernel", UINT),
        (3, "user", UINT),
        (4, "per_cpu", [UINT]),
    )


class Throttle(Message):
    """io.containerd.cgroups.v1.Throttle."""

    NAME = "io.containerd.cgroups.v1.Throttle"

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0

    FIELDS = (
        (1, "periods", UINT),
        (2, "throttled_periods", UINT),
        (3, "throttled_time", UINT),
    )


class CPUStat(Message):
    """io.containerd.cgroups.v1.CPUStat."""

    NAME = "io.containerd.cgroups.v1.CPUStat"

    usage: CPUUsage | None = None
    throttling: Throttle | None = None

    FIELDS = (
        (1, "usage", CPUUsage),
        (2, "throttling", Throttle),
    )


class MemoryEntry(Message):
    """io.containerd.cgroups.v1.MemoryEntry."""

    NAME = "io.containerd.cgroups.v1.MemoryEntry"

    limit: int = 0
    usage: int = 0
    max: int = 0
    failcnt: int = 0

    FIELDS = (
        (1, "limit", UINT),
        (2, "usage", UINT),
        (3, "max", UINT),
        (4, "failcnt", UINT),
    )


class MemoryStat(Message):
    """io.containerd.cgroups.v1.MemoryStat."""

    NAME = "io.containerd.cgroups.v1.MemoryStat"

    cache: int = 0
    rss: int = 0
    rss_huge: int = 0
    mapped_file: int = 0
    dirty: int = 0
    writeback: int = 0
    pg_pg_in: int = 0
    pg_pg_out: int = 0
    pg_fault: int = 0
    pg_maj_fault: int = 0
    inactive_anon: int = 0
    active_anon: int = 0
    inactive_file: int = 0
    active_file: int = 0
    unevictable: int = 0
    hierarchical_memory_limit: int = 0
    hierarchical_swap_limit: int = 0
    total_cache: int = 0
    total_rss: int = 0
    total_rss_huge: int = 0
    total_mapped_file: int = 0
    total_dirty: int = 0
    total_writeback: int = 0
    total_pg_pg_in: int = 0
    total_pg_pg_out: int = 0
    total_pg_fault: int = 0
    total_pg_maj_fault: int = 0
    total_inactive_anon: int = 0
    total_active_anon: int = 0
    total_inactive_file: int = 0
    total_active_file: int = 0
    total_unevictable: int = 0
    usage: MemoryEntry | None = None
    swap: MemoryEntry | None = None
    kernel: MemoryEntry | None = None
    kernel_tcp: MemoryEntry | None = None

    FIELDS = (
        (1, "cache", UINT),
        (2, "rss", UINT),
        (3, "rss_huge", UINT),
        (4, "mapped_file", UINT),
        (5, "dirty", UINT),
        (6, "writeback", UINT),
        (7, "pg_pg_in", UINT),
        (8, "pg_pg_out", UINT),
        (9, "pg_fault", UINT),
        (10, "pg_maj_fault", UINT),
        (11, "inactive_anon", UINT),
        (12, "active_anon", UINT),
        (13, "inactive_file", UINT),
        (14, "active_file", UINT),
        (15, "unevictable", UINT),
        (16, "hierarchical_memory_limit", UINT),
        (17, "hierarchical_swap_limit", UINT),
        (18, "total_cache", UINT),
        (19, "total_rss", UINT),
        (20, "total_rss_huge", UINT),
        (21, "total_mapped_file", UINT),
        (22, "total_dirty", UINT),
        (23, "total_writeback", UINT),
        (24, "total_pg_pg_in", UINT),
        (25, "total_pg_pg_out", UINT),
        (26, "total_pg_fault", UINT),
        (27, "total_pg_maj_fault", UINT),
        (28, "total_inactive_anon", UINT),
        (29, "total_active_anon", UINT),
        (30, "total_inactive_file", UINT),
        (31, "total_active_file", UINT),
        (32, "total_unevictable", UINT),
        (33, "usage", MemoryEntry),
        (34, "swap", MemoryEntry),
        (35, "kernel", MemoryEntry),
        (36, "kernel_tcp", MemoryEntry),
    )


class BlkIOEntry(Message):
    """io.containerd.cgroups.v1.BlkIOEntry."""

    NAME = "io.containerd.cgroups.v1.BlkIOEntry"

    op: str = ""
    device: str = ""
    major: int = 0
    minor: int = 0
    value: int = 0

    FIELDS = (
        (1, "op", STRING),
        (2, "device", STRING),
        (3, "major", UINT),
        (4, "minor", UINT),
        (5, "value", UINT),
    )


class BlkIOStat(Message):
    """io.containerd.cgroups.v1.BlkIOStat."""

    NAME = "io.containerd.cgroups.v1.BlkIOStat"

    io_service_bytes_recursive: Sequence[BlkIOEntry] = ()
    io_serviced_recursive: Sequence[BlkIOEntry] = ()
    io_queued_recursive: Sequence[BlkIOEntry] = ()
    io_service_time_recursive: Sequence[BlkIOEntry] = ()
    io_wait_time_recursive: Sequence[BlkIOEntry] = ()
    io_merged_recursive: Sequence[BlkIOEntry] = ()
    io_time_recursive: Sequence[BlkIOEntry] = ()
    sectors_recursive: Sequence[BlkIOEntry] = ()

    FIELDS = (
        (1, "io_service_bytes_recursive", [BlkIOEntry]),
        (2, "io_serviced_recursive", [BlkIOEntry]),
        (3, "io_queued_recursive", [BlkIOEntry]),
        (4, "io_service_time_recursive", [BlkIOEntry]),
        (5, "io_wait_time_recursive", [BlkIOEntry]),
        (6, "io_merged_recursive", [BlkIOEntry]),
        (7, "io_time_recursive", [BlkIOEntry]),
        (8, "sectors_recursive", [BlkIOEntry]),
    )


class RdmaEntry(Message):
    """io.containerd.cgroups.v1.RdmaEntry."""

    NAME = "io.containerd.cgroups.v1.RdmaEntry"

    device: str = ""
    hca_handles: int = 0
    hca_objects: int = 0

    FIELDS = (
        (1, "device", STRING),
        (2, "hca_handles", UINT),
        (3, "hca_objects", UINT),
    )


class RdmaStat(Message):
    """io.containerd.cgroups.v1.RdmaStat."""

    NAME = "io.containerd.cgroups.v1.RdmaStat"

    current: Sequence[RdmaEntry] = ()
    limit: Sequence[RdmaEntry] = ()

    FIELDS = (
        (1, "current", [RdmaEntry]),
        (2, "limit", [RdmaEntry]),
    )


class NetworkStat(Message):
    """io.containerd.cgroups.v1.NetworkStat."""

    NAME = "io.containerd.cgroups.v1.NetworkStat"

    name: str = ""
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0

    FIELDS = (
        (1, "name", STRING),
        (2, "rx_bytes", UINT),
        (3, "rx_packets", UINT),
        (4, "rx_errors", UINT),
        (5, "rx_dropped", UINT),
        (6, "tx_bytes", UINT),
        (7, "tx_packets", UINT),
        (8, "tx_errors", UINT),
        (9, "tx_dropped", UINT),
    )


class CgroupStats(Message):
    """io.containerd.cgroups.v1.CgroupStats."""

    NAME = "io.containerd.cgroups.v1.CgroupStats"

    nr_sleeping: int = 0
    nr_running: int = 0
    nr_stopped: int = 0
    nr_uninterruptible: int = 0
    nr_io_wait: int = 0

    FIELDS = (
        (1, "nr_sleeping", UINT),
        (2, "nr_running", UINT),
        (3, "nr_stopped", UINT),
        (4, "nr_uninterruptible", UINT),
        (5, "nr_io_wait", UINT),
    )


class MemoryOomControl(Message):
    """io.containerd.cgroups.v1.MemoryOomControl."""

    NAME = "io.containerd.cgroups.v1.MemoryOomControl"

    oom_kill_disable: int = 0
    under_oom: int = 0
    oom_kill: int = 0

    FIELDS = (
        (1, "oom_kill_disable", UINT),
        (2, "under_oom", UINT),
        (3, "oom_kill", UINT),
    )


class Metrics(Message):
    """io.containerd.cgroups.v1.Metrics."""

    NAME = "io.containerd.cgroups.v1.Metrics"

    hugetlb: Sequence[HugetlbStat] = ()
    pids: PidsStat | None = None
    cpu: CPUStat | None = None
    memory: MemoryStat | None = None
    blkio: BlkIOStat | None = None
    rdma: RdmaStat | None = None
    network: Sequence[NetworkStat] = ()
    cgroup_stats: CgroupStats | None = None
    memory_oom_control: MemoryOomControl | None = None

    FIELDS = (
        (1, "hugetlb", [HugetlbStat]),
        (2, "pids", PidsStat),
        (3, "cpu", CPUStat),
        (4, "memory", MemoryStat),
        (5, "blkio", BlkIOStat),
        (6, "rdma", RdmaStat),
        (7, "network", [NetworkStat]),
        (8, "cgroup_stats", CgroupStats),
        (9, "memory_oom_control", MemoryOomControl),
    )
