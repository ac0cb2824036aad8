"""Defines the records of a container's usage, in one form for both versions of cgroups.

They hold every number that `runwasi events` and containerd's metrics of either version report. Numbers from
files that this kernel lacks are zero. CPU times are nanoseconds, memory is bytes.
"""

from __future__ import annotations

from runwasi.oci.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

UNLIMITED = (1 << 64) - 1
"""The value of a limit of "max". Version 1 has no such word for memory and gives a number near 2**63."""


class Pressure(Record):
    """Share of time in percent in which some or all tasks stalled, and the whole in microseconds (PSI)."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


class Stalls(Record):
    """Pressure on one resource: some tasks waited, or all of them."""

    some: Pressure | None = None
    full: Pressure | None = None


class CpuUsage(Record):
    """Time used and time withheld. Per-CPU times exist on version 1 only."""

    total: int = 0
    kernel: int = 0
    user: int = 0
    percpu: tuple[int, ...] = ()
    percpu_kernel: tuple[int, ...] = ()
    percpu_user: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0
    bursts: int = 0
    burst_time: int = 0
    pressure: Stalls | None = None


class MemoryEntry(Record):
    """One account: now, at most so far, allowed, and how often the limit was hit."""

    limit: int = 0
    usage: int = 0
    max: int = 0
    failcnt: int = 0


class MemoryUsage(Record):
    """Memory accounts. swap counts memory and swap together, as version 1 does; swap_only swap alone.

    raw is memory.stat; events is memory.events (version 2) or memory.oom_control (version 1).
    """

    usage: MemoryEntry = MemoryEntry()
    swap: MemoryEntry = MemoryEntry()
    swap_only: MemoryEntry = MemoryEntry()
    kernel: MemoryEntry = MemoryEntry()
    kernel_tcp: MemoryEntry = MemoryEntry()
    cache: int = 0
    raw: Mapping[str, int] = EMPTY
    events: Mapping[str, int] = EMPTY
    pressure: Stalls | None = None


class PidsUsage(Record):
    """Tasks now and at most; UNLIMITED when there is no limit."""

    current: int = 0
    limit: int = UNLIMITED


class IoEntry(Record):
    """One number about one block device: bytes or operations, by op ("Read", "Write", "Total" ...)."""

    major: int
    minor: int
    op: str = ""
    value: int = 0


class IoUsage(Record):
    """Block I/O in version 1's tables, named as runc and containerd name them."""

    io_service_bytes_recursive: tuple[IoEntry, ...] = ()
    io_serviced_recursive: tuple[IoEntry, ...] = ()
    io_queued_recursive: tuple[IoEntry, ...] = ()
    io_service_time_recursive: tuple[IoEntry, ...] = ()
    io_wait_time_recursive: tuple[IoEntry, ...] = ()
    io_merged_recursive: tuple[IoEntry, ...] = ()
    io_time_recursive: tuple[IoEntry, ...] = ()
    sectors_recursive: tuple[IoEntry, ...] = ()
    pressure: Stalls | None = None


IO_TABLES = tuple(name for name in IoUsage.__annotations__ if name != "pressure")
"""The names of IoUsage's tables."""


class HugetlbUsage(Record):
    """Huge pages of one size, in bytes."""

    page_size: str
    usage: int = 0
    max: int = 0
    limit: int = UNLIMITED
    failcnt: int = 0


class RdmaEntry(Record):
    """Handles and objects of one RDMA device."""

    device: str
    hca_handles: int = 0
    hca_objects: int = 0


class CpusetUsage(Record):
    """CPUs and memory nodes the container may use."""

    cpus: tuple[int, ...] = ()
    mems: tuple[int, ...] = ()
    flags: Mapping[str, int] = EMPTY


class Usage(Record):
    """All of it, with the cgroup version it was read from."""

    version: int
    cpu: CpuUsage = CpuUsage()
    cpuset: CpusetUsage = CpusetUsage()
    memory: MemoryUsage = MemoryUsage()
    pids: PidsUsage = PidsUsage()
    io: IoUsage = IoUsage()
    hugetlb: tuple[HugetlbUsage, ...] = ()
    rdma_current: tuple[RdmaEntry, ...] = ()
    rdma_limit: tuple[RdmaEntry, ...] = ()
