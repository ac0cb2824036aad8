"""Statistics in runc's form."""

from __future__ import annotations

import pytest

from runwasi.cli.events_command import duration, stats
from runwasi.cli.options import UsageError
from runwasi.executor.usage.usage_records import (
    CpuUsage,
    HugetlbUsage,
    IoEntry,
    IoUsage,
    MemoryEntry,
    MemoryUsage,
    PidsUsage,
    Pressure,
    Stalls,
    Usage,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("1.5h", 5400), ("2us", 2e-6)]
)
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0s", "-1s", "5", "s", "5 s", "1x", "1..5s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="interval"):
        duration(text)


def test_missing_counters_are_left_out_but_limits_and_failures_stay() -> None:
    assert stats(Usage(version=2)) == {
        "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
        "cpuset": {},
        "memory": {kind: {"limit": 0, "failcnt": 0} for kind in ("usage", "swap", "kernel", "kernelTCP")},
        "pids": {},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def test_every_counter_has_its_place() -> None:
    usage = Usage(
        version=1,
        cpu=CpuUsage(total=9, percpu=(4, 5), periods=1, throttled_periods=2, throttled_time=3),
        memory=MemoryUsage(usage=MemoryEntry(limit=10, usage=4, max=6, failcnt=1), cache=2, raw={"rss": 1}),
        pids=PidsUsage(current=3, limit=7),
        io=IoUsage(io_queued_recursive=(IoEntry(major=8, minor=0, op="Read", value=5),)),
        hugetlb=(HugetlbUsage(page_size="2MB", max=1, failcnt=2),),
    )
    data = stats(usage)
    assert data["cpu"] == {
        "usage": {"total": 9, "percpu": [4, 5], "kernel": 0, "user": 0},
        "throttling": {"periods": 1, "throttledPeriods": 2, "throttledTime": 3},
    }
    memory = data["memory"]
    assert isinstance(memory, dict)
    assert memory["usage"] == {"limit": 10, "usage": 4, "max": 6, "failcnt": 1}
    assert (memory["cache"], memory["raw"]) == (2, {"rss": 1})
    assert data["pids"] == {"current": 3, "limit": 7}
    assert data["blkio"] == {"ioQueueRecursive": [{"major": 8, "op": "Read", "value": 5}]}
    assert data["hugetlb"] == {"2MB": {"max": 1, "failcnt": 2}}


def test_pressure_is_shown_where_the_kernel_measures_it() -> None:
    stalls = Stalls(some=Pressure(avg10=1.5, total=7))
    data = stats(Usage(version=2, cpu=CpuUsage(pressure=stalls)))["cpu"]
    assert isinstance(data, dict)
    assert data["psi"] == {"some": {"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 7}}
