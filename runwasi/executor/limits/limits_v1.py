"""Sets limits in cgroup version 1. Source: Documentation/admin-guide/cgroup-v1/."""

from __future__ import annotations

from errno import EBUSY, EINVAL

from runwasi.executor.limits.limit_parts import ROOT, write, write_if_there
from runwasi.oci.decode import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.limits.limit_parts import Part
    from runwasi.linux.cgroups import Cgroup
    from runwasi.oci.resources import Cpu, Memory, Resources

_LIMIT = "memory.limit_in_bytes"
_SWAP = "memory.memsw.limit_in_bytes"


def set_memory(cgroup: Cgroup, resources: Resources) -> None:
    """Set memory limits; that of the kernel's own memory is ignored, as kernels do since 5.16."""
    memory = resources.memory
    assert memory is not None
    if memory.use_hierarchy is not None:
        _set_hierarchy(cgroup, memory.use_hierarchy)
    _set_memory_and_swap(cgroup, memory)
    if memory.reservation:
        write(cgroup, "memory", "memory.soft_limit_in_bytes", memory.reservation)
    if memory.kernel_tcp:
        write_if_there(cgroup, "memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.disable_oom_killer is not None:
        _disable_oom_killer(cgroup, memory.disable_oom_killer)
    if memory.swappiness is not None:
        write(cgroup, "memory", "memory.swappiness", memory.swappiness)


def _set_hierarchy(cgroup: Cgroup, wanted: bool) -> None:
    """Turn hierarchical accounting on or off, on kernels that have both (before Linux 5.11)."""
    try:
        write(cgroup, "memory", "memory.use_hierarchy", int(wanted))
    except OSError as error:
        if error.errno != EINVAL:
            raise


def _disable_oom_killer(cgroup: Cgroup, disabled: bool) -> None:
    """Make processes wait instead of killing one. Write it only if it changes: current kernels warn about it."""
    if f"oom_kill_disable {disabled:d}" not in cgroup.read("memory", "memory.oom_control").splitlines():
        write(cgroup, "memory", "memory.oom_control", int(disabled))


def _set_memory_and_swap(cgroup: Cgroup, memory: Memory) -> None:
    """Write both so that memory <= memory+swap holds after each write, as the kernel requires."""
    limit, swap = memory.limit or 0, memory.swap or 0
    if limit == -1 and not swap:
        write_if_there(cgroup, "memory", _SWAP, -1)  # unlimited memory means unlimited swap
        _set_limit(cgroup, limit)
    elif limit and swap and (swap == -1 or int(cgroup.read("memory", _LIMIT)) < swap):
        write(cgroup, "memory", _SWAP, swap)
        _set_limit(cgroup, limit)
    else:
        if limit:
            _set_limit(cgroup, limit)
        if swap:
            write(cgroup, "memory", _SWAP, swap)


def _set_limit(cgroup: Cgroup, limit: int) -> None:
    try:
        write(cgroup, "memory", _LIMIT, limit)
    except OSError as error:
        if error.errno != EBUSY:
            raise
        used, peak = (
            cgroup.read("memory", f"memory.{which}_in_bytes").strip() for which in ("usage", "max_usage")
        )
        why = f"unable to set memory limit to {limit} (current usage: {used}, peak usage: {peak})"
        raise OSError(EBUSY, why) from None


def set_cpu(cgroup: Cgroup, resources: Resources) -> None:
    """Set shares, bandwidth, idle and realtime budget."""
    cpu = resources.cpu
    assert cpu is not None
    if cpu.shares:
        _set_shares(cgroup, cpu.shares)
    _set_bandwidth(cgroup, cpu)
    if cpu.idle is not None:
        write(cgroup, "cpu", "cpu.idle", cpu.idle)
    _set_realtime(cgroup, cpu)


def _set_shares(cgroup: Cgroup, shares: int) -> None:
    """Set cpu.shares; refuse a value beyond the kernel's bounds, which it clamps silently."""
    write(cgroup, "cpu", "cpu.shares", shares)
    got = int(cgroup.read("cpu", "cpu.shares"))
    if got != shares:
        which = "maximum" if shares > got else "minimum"
        raise SpecError(f"{ROOT}.cpu.shares", f"is {shares}; the {which} allowed cpu-shares is {got}")


def _set_bandwidth(cgroup: Cgroup, cpu: Cpu) -> None:
    """Set period, burst and quota.

    A new period or burst may contradict the quota still in force (EINVAL); it is then set after the quota.
    """
    later = [
        (file, value)
        for file, value in (("cpu.cfs_period_us", cpu.period or None), ("cpu.cfs_burst_us", cpu.burst))
        if value is not None and not _set_now(cgroup, file, value, quota_follows=bool(cpu.quota))
    ]
    if cpu.quota:
        write(cgroup, "cpu", "cpu.cfs_quota_us", cpu.quota)
    for file, value in later:
        write(cgroup, "cpu", file, value)


def _set_now(cgroup: Cgroup, file: str, value: int, *, quota_follows: bool) -> bool:
    """Write a value; False if it must be written again once the value that it depends on is set."""
    try:
        write(cgroup, "cpu", file, value)
    except OSError as error:
        if file == "cpu.cfs_burst_us" and isinstance(error, FileNotFoundError):
            return True  # before Linux 5.14: no burst
        if error.errno != EINVAL or not quota_follows:
            raise
        return False
    return True


def _set_realtime(cgroup: Cgroup, cpu: Cpu) -> None:
    """Set the realtime period and runtime, which depend on each other as quota and period do."""
    runtime, period = cpu.realtime_runtime, cpu.realtime_period
    done = not period or _set_now(cgroup, "cpu.rt_period_us", period, quota_follows=bool(runtime))
    if runtime:
        write(cgroup, "cpu", "cpu.rt_runtime_us", runtime)
    if not done:
        write(cgroup, "cpu", "cpu.rt_period_us", period)


def set_cpuset(cgroup: Cgroup, resources: Resources) -> None:
    """Restrict to CPUs and memory nodes."""
    cpu = resources.cpu
    assert cpu is not None
    if cpu.cpus:
        write(cgroup, "cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        write(cgroup, "cpuset", "cpuset.mems", cpu.mems)


def set_pids(cgroup: Cgroup, resources: Resources) -> None:
    """Bound the number of tasks."""
    assert resources.pids is not None
    write(cgroup, "pids", "pids.max", pids_max(resources.pids.limit))


def pids_max(limit: int) -> str:
    """Convert a limit to pids.max: a negative one is none; 0 becomes 1, because systemd has no 0."""
    return "max" if limit < 0 else str(limit or 1)


def set_block_io(cgroup: Cgroup, resources: Resources) -> None:
    """Set weights and ceilings of block devices; weights belong to BFQ where the kernel has no CFQ."""
    block_io = resources.block_io
    assert block_io is not None
    if block_io.weight:
        _write_weight(cgroup, "blkio.weight", "blkio.bfq.weight", str(block_io.weight))
    if block_io.leaf_weight:
        write(cgroup, "blkio", "blkio.leaf_weight", block_io.leaf_weight)
    for device in block_io.weight_device:
        numbers = f"{device.major}:{device.minor}"
        if device.weight:
            _write_weight(
                cgroup, "blkio.weight_device", "blkio.bfq.weight_device", f"{numbers} {device.weight}"
            )
        if device.leaf_weight:
            write(cgroup, "blkio", "blkio.leaf_weight_device", f"{numbers} {device.leaf_weight}")
    for file, devices in (
        ("blkio.throttle.read_bps_device", block_io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", block_io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", block_io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", block_io.throttle_write_iops_device),
    ):
        for throttle in devices:
            write(cgroup, "blkio", file, f"{throttle.major}:{throttle.minor} {throttle.rate}")


def _write_weight(cgroup: Cgroup, cfq: str, bfq: str, value: str) -> None:
    if not write_if_there(cgroup, "blkio", cfq, value):
        write(cgroup, "blkio", bfq, value)


def set_hugetlb(cgroup: Cgroup, resources: Resources) -> None:
    """Bound huge pages in use, and their reservations where the kernel counts them (5.7)."""
    for entry in resources.hugepage_limits:
        write(cgroup, "hugetlb", f"hugetlb.{entry.page_size}.limit_in_bytes", entry.limit)
        write_if_there(cgroup, "hugetlb", f"hugetlb.{entry.page_size}.rsvd.limit_in_bytes", entry.limit)


def set_rdma(cgroup: Cgroup, resources: Resources) -> None:
    """Bound handles and objects of each RDMA device."""
    for device, limits in resources.rdma.items():
        handles, objects = limits.hca_handles, limits.hca_objects
        entry = [device]
        entry += [f"hca_handle={handles}"] if handles is not None else []
        entry += [f"hca_object={objects}"] if objects is not None else []
        write(cgroup, "rdma", "rdma.max", " ".join(entry))


def set_class(cgroup: Cgroup, resources: Resources) -> None:
    """Tag packets for traffic control."""
    assert resources.network is not None
    write(cgroup, "net_cls", "net_cls.classid", resources.network.class_id)


def set_priorities(cgroup: Cgroup, resources: Resources) -> None:
    """Set the priority of packets by interface."""
    assert resources.network is not None
    for entry in resources.network.priorities:
        write(cgroup, "net_prio", "net_prio.ifpriomap", f"{entry.name} {entry.priority}")


def asks_memory(resources: Resources) -> bool:
    """Return whether a memory setting that still has an effect is given."""
    memory = resources.memory
    return memory is not None and (
        any((memory.limit, memory.reservation, memory.swap, memory.kernel_tcp, memory.disable_oom_killer))
        or memory.swappiness is not None
        or memory.use_hierarchy is not None
    )


def asks_cpu(resources: Resources) -> bool:
    """Return whether a CPU time setting is given."""
    cpu = resources.cpu
    return cpu is not None and (
        bool(cpu.shares or cpu.quota or cpu.period or cpu.realtime_runtime or cpu.realtime_period)
        or cpu.burst is not None
        or cpu.idle is not None
    )


def asks_cpuset(resources: Resources) -> bool:
    """Return whether CPUs or memory nodes are given."""
    return resources.cpu is not None and bool(resources.cpu.cpus or resources.cpu.mems)


def asks_pids(resources: Resources) -> bool:
    """Return whether a number of tasks is given."""
    return resources.pids is not None


def asks_block_io(resources: Resources) -> bool:
    """Return whether a block I/O setting is given."""
    block_io = resources.block_io
    return block_io is not None and bool(
        block_io.weight
        or block_io.leaf_weight
        or block_io.weight_device
        or block_io.throttle_read_bps_device
        or block_io.throttle_write_bps_device
        or block_io.throttle_read_iops_device
        or block_io.throttle_write_iops_device
    )


def asks_class(resources: Resources) -> bool:
    """Return whether a packet class is given; 0 is none."""
    return resources.network is not None and bool(resources.network.class_id)


def asks_priorities(resources: Resources) -> bool:
    """Return whether interface priorities are given."""
    return resources.network is not None and bool(resources.network.priorities)


PARTS: tuple[Part, ...] = (
    ("cpu", "cpuset", asks_cpuset, set_cpuset),
    ("memory", "memory", asks_memory, set_memory),
    ("cpu", "cpu", asks_cpu, set_cpu),
    ("pids", "pids", asks_pids, set_pids),
    ("blockIO", "blkio", asks_block_io, set_block_io),
    ("hugepageLimits", "hugetlb", lambda resources: resources.hugepage_limits, set_hugetlb),
    ("rdma", "rdma", lambda resources: resources.rdma, set_rdma),
    ("network.classID", "net_cls", asks_class, set_class),
    ("network.priorities", "net_prio", asks_priorities, set_priorities),
)
"""Member of the spec's resources, controller, whether it is asked for, and what sets it; in runc's order."""
