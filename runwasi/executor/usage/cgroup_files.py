"""Reads numbers and lists from the files of a cgroup of either version."""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT, EOPNOTSUPP

from runwasi.executor.usage.usage_records import UNLIMITED, PidsUsage, RdmaEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup


def text(cgroup: Cgroup, controller: str, file: str) -> str:
    """Read a file; return "" if the kernel has no such file, or the cgroup is gone."""
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
    """Convert a file's text to a number: "max" is UNLIMITED, "" is 0."""
    value = value.strip()
    return UNLIMITED if value == "max" else int(value or 0)


def counters(listing: str) -> dict[str, int]:
    """Read lines of "name value"."""
    return {name: int(value) for name, _, value in (line.partition(" ") for line in listing.splitlines())}


def pids_usage(cgroup: Cgroup) -> PidsUsage:
    """Read the pids controller, which is the same in both versions."""
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
