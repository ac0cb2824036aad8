"""What a container has used, read from its cgroup into one shape for both versions.

The shape keeps every number that `runwasi events` and containerd's metrics of either version report; a file
this kernel does not have leaves its numbers at zero. CPU times are nanoseconds, memory is bytes.
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT, EOPNOTSUPP

from runwasi.oci.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.linux.cgroups import Cgroup

UNLIMITED = (1 << 64) - 1
"""What a limit of "max" reads as. Version 1 has no such word for memory and gives a number near 2**63."""


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


def read_usage(cgroup: Cgroup) -> Usage:
    """Read everything that this kernel counts for a cgroup. A cgroup that is gone has used nothing."""
    if cgroup.version == 1:
        from runwasi.executor.usage.usage_v1 import read  # late: a host has one version
    else:
        from runwasi.executor.usage.usage_v2 import read
    return read(cgroup)


def text(cgroup: Cgroup, controller: str, file: str) -> str:
    """Read a file, or nothing where the kernel, or the cgroup by now, has none."""
    try:
        return cgroup.read(controller, file)
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV, EOPNOTSUPP):
            raise
        return ""


def number(cgroup: Cgroup, controller: str, file: str) -> int:
    """Read a number; 0 where there is no such file."""
    return as_number(text(cgroup, controller, file))


def as_number(value: str) -> int:
    """Turn a file's text into a number: "max" is UNLIMITED, nothing is 0."""
    value = value.strip()
    return UNLIMITED if value == "max" else int(value or 0)


def counters(listing: str) -> dict[str, int]:
    """Read lines of "name value"."""
    return {name: int(value) for name, _, value in (line.partition(" ") for line in listing.splitlines())}


def pids_usage(cgroup: Cgroup) -> PidsUsage:
    """Read the pids controller, which both versions have alike."""
    return PidsUsage(current=number(cgroup, "pids", "pids.current"), limit=number(cgroup, "pids", "pids.max"))


def rdma_entries(listing: str) -> tuple[RdmaEntry, ...]:
    """Read rdma.current or rdma.max: "mlx4_0 hca_handle=2 hca_object=max"."""
    entries = []
    for line in listing.splitlines():
        device, *pairs = line.split()
        found = dict(pair.split("=", 1) for pair in pairs)
        handles, objects = (
            min(as_number(found.get(name, "")), (1 << 32) - 1) for name in ("hca_handle", "hca_object")
        )
        entries.append(RdmaEntry(device=device, hca_handles=handles, hca_objects=objects))
    return tuple(entries)


def number_list(listing: str) -> tuple[int, ...]:
    """Expand a list such as "0-2,7" (man 7 cpuset, FORMATS)."""
    numbers: list[int] = []
    for part in filter(None, listing.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def page_sizes() -> list[str]:
    """Return the sizes of huge pages this kernel has, as cgroup file names spell them: "2MB", "1GB"."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except FileNotFoundError:
        return []
    return [_size_name(int(name.removeprefix("hugepages-").removesuffix("kB"))) for name in sorted(names)]


def _size_name(kib: int) -> str:
    if kib >= 1 << 20:
        return f"{kib >> 20}GB"
    return f"{kib >> 10}MB" if kib >= 1 << 10 else f"{kib}KB"
