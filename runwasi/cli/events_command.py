"""events: prints a container's resource usage, once or at intervals, and its out-of-memory kills.

The documents have the names of runc's events, which monitoring reads.
"""

from __future__ import annotations

import select
import time

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, Option, UsageError
from runwasi.executor.errors import WrongStatus
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.usage.usage_records import UNLIMITED
from runwasi.oci.encode import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.executor.usage.usage_records import (
        CpuUsage,
        IoEntry,
        IoUsage,
        MemoryEntry,
        MemoryUsage,
        Stalls,
        Usage,
    )

    Json = dict[str, object]


def _events(given: Given, settings: Settings) -> int:
    interval = duration(given.text("interval"))
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    if container.status() == "stopped":
        raise WrongStatus(f"container with id {container.id} is not running")
    if given.flag("stats"):
        _print_stats(container)
    else:
        _watch(container, interval)
    return 0


def _print_stats(container: Container) -> None:
    _print({"type": "stats", "id": container.id, "data": stats(container.usage())})


def _print(event: Json) -> None:
    output.write(dumps(event) + "\n")
    output.flush()


def _watch(container: Container, interval: float) -> None:
    """Print statistics every interval seconds, and each out-of-memory kill, until the container ends."""
    watch = container.cgroup.watch_oom()
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    pidfd = container.open_pidfd()
    poll.register(pidfd, select.POLLIN)
    due = time.monotonic() + interval
    while True:
        ready = {fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)}
        if watch.fileno() in ready and watch.killed():
            _print({"type": "oom", "id": container.id})
        if pidfd in ready:
            break
        if time.monotonic() >= due:
            _print_stats(container)
            due += interval
    watch.close()


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Parse a duration such as 5s, 100ms or 1m30s to seconds. Raises UsageError unless it is above 0."""
    seconds, rest = 0.0, text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        rest = rest[len(unit) :]
        if unit not in _UNITS or number.count(".") > 1 or not number.strip("."):
            raise UsageError(f'invalid value "{text}" for flag -interval: such as 5s or 1m30s')
        seconds += float(number) * _UNITS[unit]
    if seconds <= 0:
        raise UsageError("duration interval must be greater than 0")
    return seconds


def stats(usage: Usage) -> Json:
    """Return usage as the data of a stats event, without numbers that have no counter and so are 0."""
    return {
        "cpu": _cpu(usage.cpu),
        "cpuset": {
            **_given({"cpus": list(usage.cpuset.cpus), "mems": list(usage.cpuset.mems)}),
            **usage.cpuset.flags,
        },
        "memory": _memory(usage.memory),
        "pids": _given(
            {
                "current": usage.pids.current,
                "limit": 0 if usage.pids.limit == UNLIMITED else usage.pids.limit,
            }
        ),
        "blkio": _block_io(usage.io),
        "hugetlb": {
            pages.page_size: {**_given({"usage": pages.usage, "max": pages.max}), "failcnt": pages.failcnt}
            for pages in usage.hugetlb
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _given(members: Json) -> Json:
    return {name: value for name, value in members.items() if value}


def _cpu(cpu: CpuUsage) -> Json:
    used = _given(
        {
            "total": cpu.total,
            "percpu": list(cpu.percpu),
            "percpu_kernel": list(cpu.percpu_kernel),
            "percpu_user": list(cpu.percpu_user),
        }
    )
    throttling = _given(
        {
            "periods": cpu.periods,
            "throttledPeriods": cpu.throttled_periods,
            "throttledTime": cpu.throttled_time,
        }
    )
    return {
        "usage": {**used, "kernel": cpu.kernel, "user": cpu.user},
        "throttling": throttling,
        **_pressure(cpu.pressure),
    }


def _memory(memory: MemoryUsage) -> Json:
    return {
        **_given({"cache": memory.cache}),
        "usage": _memory_entry(memory.usage),
        "swap": _memory_entry(memory.swap),
        "kernel": _memory_entry(memory.kernel),
        "kernelTCP": _memory_entry(memory.kernel_tcp),
        **_given({"raw": dict(memory.raw)}),
        **_pressure(memory.pressure),
    }


def _memory_entry(entry: MemoryEntry) -> Json:
    return {
        "limit": entry.limit,
        **_given({"usage": entry.usage, "max": entry.max}),
        "failcnt": entry.failcnt,
    }


_IO_TABLES = {
    "ioServiceBytesRecursive": "io_service_bytes_recursive",
    "ioServicedRecursive": "io_serviced_recursive",
    "ioQueueRecursive": "io_queued_recursive",
    "ioServiceTimeRecursive": "io_service_time_recursive",
    "ioWaitTimeRecursive": "io_wait_time_recursive",
    "ioMergedRecursive": "io_merged_recursive",
    "ioTimeRecursive": "io_time_recursive",
    "sectorsRecursive": "sectors_recursive",
}


def _block_io(usage: IoUsage) -> Json:
    tables: Json = {
        name: [_io_entry(entry) for entry in getattr(usage, table)] for name, table in _IO_TABLES.items()
    }
    return {**_given(tables), **_pressure(usage.pressure)}


def _io_entry(entry: IoEntry) -> Json:
    return _given({"major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value})


def _pressure(stalls: Stalls | None) -> Json:
    if stalls is None:
        return {}
    parts = {"some": stalls.some, "full": stalls.full}
    return {
        "psi": {
            name: {"avg10": part.avg10, "avg60": part.avg60, "avg300": part.avg300, "total": part.total}
            for name, part in parts.items()
            if part is not None
        }
    }


COMMANDS = {
    "events": Command(
        "events",
        "show a container's resource usage and out-of-memory kills",
        _events,
        arguments="ID",
        description="""\
One JSON document per line until the container ends: statistics every 5 seconds,
and each out-of-memory kill.""",
        options=(
            Option("stats", "print the statistics once and exit", kind=FLAG),
            Option("interval", "time between statistics (default: 5s)", default="5s", value="TIME"),
        ),
        least=1,
        most=1,
    )
}
