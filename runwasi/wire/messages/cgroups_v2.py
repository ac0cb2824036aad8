"""Generated from cgroups_v2.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import DOUBLE, STRING, UINT, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class PidsStat(Message):
    """io.containerd.cgroups.v2.PidsStat."""

    NAME = "io.containerd.cgroups.v2.PidsStat"

    current: int = 0
    limit: int = 0

    FIELDS = (
        (1, "current", UINT),
        (2, "limit", UINT),
    )


class PSIData(Message):
    """io.containerd.cgroups.v2.PSIData."""

    NAME = "io.containerd.cgroups.v2.PSIData"

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0

    FIELDS = (
        (1, "avg10", DOUBLE),
        (2, "avg60", DOUBLE),
        (3, "avg300", DOUBLE),
        (4, "total", UINT),
    )


class PSIStats(Message):
    """io.containerd.cgroups.v2.PSIStats."""

    NAME = "io.containerd.cgroups.v2.PSIStats"

    some: PSIData | None = None
    full: PSIData | None = None

    FIELDS = (
        (1, "some", PSIData),
        (2, "full", PSIData),
    )


class CPUStat(Message):
    """io.containerd.cgroups.v2.CPUStat."""

    NAME = "io.containerd.cgroups.v2.CPUStat"

    usage_usec: int = 0
    user_usec: int = 0
    system_usec: int = 0
    nr_periods: int = 0
    nr_throttled: int = 0
    throttled_usec: int = 0
    psi: PSIStats | None = None
    nr_bursts: int = 0
    burst_usec: int = 0

    FIELDS = (
        (1, "usage_usec", UINT),
        (2, "user_usec", UINT),
        (3, "system_usec", UINT),
        (4, "nr_periods", UINT),
        (5, "nr_throttled", UINT),
        (6, "throttled_usec", UINT),
        (7, "psi", PSIStats),
        (8, "nr_bursts", UINT),
        (9, "burst_usec", UINT),
    )


class MemoryStat(Message):
    """io.containerd.cgroups.v2.MemoryStat."""

    NAME = "io.containerd.cgroups.v2.MemoryStat"

    anon: int = 0
    file: int = 0
    kernel_stack: int = 0
    slab: int = 0
    sock: int = 0
    shmem: int = 0
    file_mapped: int = 0
    file_dirty: int = 0
    file_writeback: int = 0
    anon_thp: int = 0
    inactive_anon: int = 0
    active_anon: int = 0
    inactive_file: int = 0
    active_file: int = 0
    unevictable: int = 0
    slab_reclaimable: int = 0
    slab_unreclaimable: int = 0
    pgfault: int = 0
    pgmajfault: int = 0
    workingset_refault: int = 0
    workingset_activate: int = 0
    workingset_nodereclaim: int = 0
    pgrefill: int = 0
    pgscan: int = 0
    pgsteal: int = 0
    pgactivate: int = 0
    pgdeactivate: int = 0
    pglazyfree: int = 0
    pglazyfreed: int = 0
    thp_fault_alloc: int = 0
    thp_collapse_alloc: int = 0
    usage: int = 0
    usage_limit: int = 0
    swap_usage: int = 0
    swap_limit: int = 0
    max_usage: int = 0
    swap_max_usage: int = 0
    psi: PSIStats | None = None

    FIELDS = (
        (1, "anon", UINT),
        (2, "file", UINT),
        (3, "kernel_stack", UINT),
        (4, "slab", UINT),
        (5, "sock", UINT),
        (6, "shmem", UINT),
        (7, "file_mapped", UINT),
        (8, "file_dirty", UINT),
        (9, "file_writeback", UINT),
        (10, "anon_thp", UINT),
        (11, "inactive_anon", UINT),
        (12, "active_anon", UINT),
        (13, "inactive_file", UINT),
        (14, "active_file", UINT),
        (15, "unevictable", UINT),
        (16, "slab_reclaimable", UINT),
        (17, "slab_unreclaimable", UINT),
        (18, "pgfault", UINT),
        (19, "pgmajfault", UINT),
        (20, "workingset_refault", UINT),
        (21, "workingset_activate", UINT),
        (22, "workingset_nodereclaim", UINT),
        (23, "pgrefill", UINT),
        (24, "pgscan", UINT),
        (25, "pgsteal", UINT),
        (26, "pgactivate", UINT),
        (27, "pgdeactivate", UINT),
        (28, "pglazyfree", UINT),
        (29, "pglazyfreed", UINT),
        (30, "thp_fault_alloc", UINT),
        (31, "thp_collapse_alloc", UINT),
        (32, "usage", UINT),
        (33, "usage_limit", UINT),
        (34, "swap_usage", UINT),
        (35, "swap_limit", UINT),
        (36, "max_usage", UINT),
        (37, "swap_max_usage", UINT),
        (38, "psi", PSIStats),
    )


class RdmaEntry(Message):
    """io.containerd.cgroups.v2.RdmaEntry."""

    NAME = "io.containerd.cgroups.v2.RdmaEntry"

    device: str = ""
    hca_handles: int = 0
    hca_objects: int = 0

    FIELDS = (
        (1, "device", STRING),
        (2, "hca_handles", UINT),
        (3, "hca_objects", UINT),
    )


class RdmaStat(Message):
    """io.containerd.cgroups.v2.RdmaStat."""

    NAME = "io.containerd.cgroups.v2.RdmaStat"

    current: Sequence[RdmaEntry] = ()
    limit: Sequence[RdmaEntry] = ()

    FIELDS = (
        (1, "current", [RdmaEntry]),
        (2, "limit", [RdmaEntry]),
    )


class IOEntry(Message):
    """io.containerd.cgroups.v2.IOEntry."""

    NAME = "io.containerd.cgroups.v2.IOEntry"

    major: int = 0
    minor: int = 0
    rbytes: int = 0
    wbytes: int = 0
    rios: int = 0
    wios: int = 0

    FIELDS = (
        (1, "major", UINT),
        (2, "minor", UINT),
        (3, "rbytes", UINT),
        (4, "wbytes", UINT),
        (5, "rios", UINT),
        (6, "wios", UINT),
    )


class IOStat(Message):
    """io.containerd.cgroups.v2.IOStat."""

    NAME = "io.containerd.cgroups.v2.IOStat"

    usage: Sequence[IOEntry] = ()
    psi: PSIStats | None = None

    FIELDS = (
        (1, "usage", [IOEntry]),
        (2, "psi", PSIStats),
    )


class HugeTlbStat(Message):
    """io.containerd.cgroups.v2.HugeTlbStat."""

    NAME = "io.containerd.cgroups.v2.HugeTlbStat"

    current: int = 0
    max: int = 0
    pagesize: str = ""
    failcnt: int = 0

    FIELDS = (
        (1, "current", UINT),
        (2, "max", UINT),
        (3, "pagesize", STRING),
        (4, "failcnt", UINT),
    )


class MemoryEvents(Message):
    """io.containerd.cgroups.v2.MemoryEvents."""

    NAME = "io.containerd.cgroups.v2.MemoryEvents"

    low: int = 0
    high: int = 0
    max: int = 0
    oom: int = 0
    oom_kill: int = 0
    oom_group_kill: int = 0

    FIELDS = (
        (1, "low", UINT),
        (2, "high", UINT),
        (3, "max", UINT),
        (4, "oom", UINT),
        (5, "oom_kill", UINT),
        (6, "oom_group_kill", UINT),
    )


class NetworkStat(Message):
    """io.containerd.cgroups.v2.NetworkStat."""

    NAME = "io.containerd.cgroups.v2.NetworkStat"

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


class Metrics(Message):
    """io.containerd.cgroups.v2.Metrics."""

    NAME = "io.containerd.cgroups.v2.Metrics"

    pids: PidsStat | None = None
    cpu: CPUStat | None = None
    memory: MemoryStat | None = None
    rdma: RdmaStat | None = None
    io: IOStat | None = None
    hugetlb: Sequence[HugeTlbStat] = ()
    memory_events: MemoryEvents | None = None
    network: Sequence[NetworkStat] = ()

    FIELDS = (
        (1, "pids", PidsStat),
        (2, "cpu", CPUStat),
        (4, "memory", MemoryStat),
        (5, "rdma", RdmaStat),
        (6, "io", IOStat),
        (7, "hugetlb", [HugeTlbStat]),
        (8, "memory_events", MemoryEvents),
        (9, "network", [NetworkStat]),
    )
