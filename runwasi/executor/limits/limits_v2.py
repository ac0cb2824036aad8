"""Sets limits in cgroup version 2. Source: Documentation/admin-guide/cgroup-v2.rst.

The spec is written for version 1. Settings without a counterpart in version 2 (swappiness, the OOM killer's switch,
realtime, leaf weights, network classes) are ignored; runc ignores them too.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, EPERM
from math import ceil, log2

from runwasi.executor.limits.limit_parts import ROOT, write, write_if_there
from runwasi.executor.limits.limits_v1 import (
    asks_block_io,
    asks_cpuset,
    asks_pids,
    set_cpuset,
    set_pids,
    set_rdma,
)
from runwasi.oci.decode import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.limits.limit_parts import Part
    from runwasi.linux.cgroups import Cgroup
    from runwasi.oci.resources import BlockIo, Cpu, Memory, Resources

_DEFAULT_PERIOD = 100_000  # microseconds; cpu.max's own default


def cpu_weight(shares: int) -> int:
    """Map v1's shares (2 to 262144) to v2's weights (1 to 10000); 0 is unset.

    The exponent is a parabola through three points: minimum to minimum, default (1024) to default (100),
    maximum to maximum. A straight line would map the default to 39. runc has used the same since 1.3.2.
    """
    if not shares:
        return 0
    exponent = log2(min(max(shares, 2), 262_144))
    return ceil(10 ** ((exponent - 1) * (exponent + 126) / 612))


def io_weight(weight: int) -> int:
    """Map v1's weights of block I/O (10 to 1000) linearly to v2's (1 to 10000)."""
    return 1 + max(weight - 10, 0) * 9999 // 990


def swap_max(memory: Memory) -> str | None:
    """Convert the spec's swap, which counts memory and swap together, to memory.swap.max; None is unset.

    Raises SpecError if the two limits contradict each other.
    """
    limit, swap = memory.limit or 0, memory.swap or 0
    if swap == -1 or (limit == -1 and not swap):
        return "max"
    if not swap:
        return None
    if limit == -1:
        return str(swap)
    if not limit:
        raise SpecError(f"{ROOT}.memory.swap", "cannot be set without a memory limit: it includes it")
    if swap < limit:
        raise SpecError(
            f"{ROOT}.memory.swap", f"is {swap}: less than the memory limit {limit}, which it includes"
        )
    return str(swap - limit)


def memory_bytes(value: int) -> str:
    """Write a limit in bytes; -1 is none."""
    return "max" if value == -1 else str(value)


def set_memory(cgroup: Cgroup, resources: Resources) -> None:
    """Set memory limits, swap first: otherwise the memory limit would hold alone for a moment."""
    memory = resources.memory
    assert memory is not None
    swap = swap_max(memory)
    if swap is not None:
        _set_swap(cgroup, swap)
    if memory.limit:
        write(cgroup, "memory", "memory.max", memory_bytes(memory.limit))
    if memory.reservation:
        write(cgroup, "memory", "memory.low", memory_bytes(memory.reservation))


def _set_swap(cgroup: Cgroup, swap: str) -> None:
    """Set the swap limit; on a kernel without swap, accept "no swap" and "unlimited", which hold anyway."""
    there = write_if_there(cgroup, "memory", "memory.swap.max", swap)
    if not there and swap not in ("0", "max"):
        raise OSError(ENOENT, "this kernel accounts no swap", "memory.swap.max")


def set_cpu(cgroup: Cgroup, resources: Resources) -> None:
    """Set idle, weight, bandwidth and burst."""
    cpu = resources.cpu
    assert cpu is not None
    if cpu.idle is not None:
        write(cgroup, "cpu", "cpu.idle", cpu.idle)
    if cpu.shares:
        _set_weight(cgroup, cpu_weight(cpu.shares), f"{ROOT}.cpu.shares", idle=cpu.idle == 1)
    burst_is_set = cpu.burst is None or _set_burst(cgroup, cpu)
    if cpu.quota or cpu.period:
        write(cgroup, "cpu", "cpu.max", cpu_max(cpu))
    if not burst_is_set:
        write(cgroup, "cpu", "cpu.max.burst", cpu.burst)


def _set_weight(cgroup: Cgroup, weight: int | str, path: str, *, idle: bool) -> None:
    try:
        write(cgroup, "cpu", "cpu.weight", weight)
    except OSError as error:
        if error.errno == EINVAL and idle:
            raise SpecError(path, "unable to apply both a weight and idle: what is idle has none") from None
        raise


def cpu_max(cpu: Cpu) -> str:
    """Format quota and period for cpu.max, in microseconds."""
    quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
    return f"{quota} {cpu.period or _DEFAULT_PERIOD}"


def _set_burst(cgroup: Cgroup, cpu: Cpu) -> bool:
    """Set the burst; False if it contradicts the quota still in force and must wait for the new one."""
    try:
        write(cgroup, "cpu", "cpu.max.burst", cpu.burst)
    except OSError as error:
        if error.errno != EINVAL or not cpu.quota:
            raise
        return False
    return True


def set_io(cgroup: Cgroup, resources: Resources) -> None:
    """Set weights, by BFQ's files where that scheduler is built in, and ceilings of block devices."""
    block_io = resources.block_io
    assert block_io is not None
    if block_io.weight and not write_if_there(cgroup, "io", "io.bfq.weight", block_io.weight):
        write(cgroup, "io", "io.weight", io_weight(block_io.weight))
    _set_device_weights(cgroup, block_io)
    for key, devices in (
        ("rbps", block_io.throttle_read_bps_device),
        ("wbps", block_io.throttle_write_bps_device),
        ("riops", block_io.throttle_read_iops_device),
        ("wiops", block_io.throttle_write_iops_device),
    ):
        for device in devices:
            rate = device.rate or "max"  # v1's 0 is no ceiling; v2 refuses it
            write(cgroup, "io", "io.max", f"{device.major}:{device.minor} {key}={rate}")


def _set_device_weights(cgroup: Cgroup, block_io: BlockIo) -> None:
    for device in block_io.weight_device:
        if not device.weight:
            continue
        numbers = f"{device.major}:{device.minor}"
        if not write_if_there(cgroup, "io", "io.bfq.weight", f"{numbers} {device.weight}"):
            write(cgroup, "io", "io.weight", f"{numbers} {io_weight(device.weight)}")


def set_hugetlb(cgroup: Cgroup, resources: Resources) -> None:
    """Bound huge pages in use, and their reservations where the kernel counts them (5.7)."""
    for entry in resources.hugepage_limits:
        write(cgroup, "hugetlb", f"hugetlb.{entry.page_size}.max", entry.limit)
        write_if_there(cgroup, "hugetlb", f"hugetlb.{entry.page_size}.rsvd.max", entry.limit)


def set_unified(cgroup: Cgroup, resources: Resources) -> None:
    """Write the files that the spec names, one line at a time: some take one device per write."""
    for file, value in resources.unified.items():
        controller = file.partition(".")[0]
        try:
            if file == "cpu.weight":
                idle = resources.unified.get("cpu.idle", "").strip() == "1"
                _set_weight(cgroup, value, f"{ROOT}.unified[{file!r}]", idle=idle)
                continue
            for line in value.splitlines() or [""]:
                write(cgroup, "", file, line)
        except OSError as error:
            if error.errno in (ENOENT, EPERM) and not cgroup.has(controller):
                why = f"cannot be set: cgroup controller {controller} is not available"
                raise SpecError(f"{ROOT}.unified[{file!r}]", why) from None
            raise


def _asks_memory(resources: Resources) -> bool:
    memory = resources.memory
    return memory is not None and bool(memory.limit or memory.reservation or memory.swap)


def _asks_cpu(resources: Resources) -> bool:
    cpu = resources.cpu
    return cpu is not None and (
        bool(cpu.shares or cpu.quota or cpu.period) or cpu.burst is not None or cpu.idle is not None
    )


PARTS: tuple[Part, ...] = (
    ("pids", "pids", asks_pids, set_pids),
    ("memory", "memory", _asks_memory, set_memory),
    ("blockIO", "io", asks_block_io, set_io),
    ("cpu", "cpu", _asks_cpu, set_cpu),
    ("cpu", "cpuset", asks_cpuset, set_cpuset),
    ("hugepageLimits", "hugetlb", lambda resources: resources.hugepage_limits, set_hugetlb),
    ("rdma", "rdma", lambda resources: resources.rdma, set_rdma),
    ("unified", "", lambda resources: resources.unified, set_unified),
)
"""Member of the spec's resources, controller, whether it is asked for, and what sets it; in runc's order."""
