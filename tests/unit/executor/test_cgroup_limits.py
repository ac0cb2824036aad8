"""Conversions and orders of limits that need no kernel."""

from __future__ import annotations

from errno import EINVAL
from typing import Any

import pytest

from runwasi.executor.limits import cgroup_limits
from runwasi.executor.limits.limits_v1 import pids_max
from runwasi.executor.limits.limits_v2 import cpu_max, cpu_weight, io_weight, swap_max
from runwasi.oci.decode import SpecError
from runwasi.oci.resources import BlockIo, Cpu, DeviceRule, Memory, Resources, ThrottleDevice, WeightDevice


class Recorder:
    """A cgroup that notes what is written; files have the values given, and refuse what is said."""

    unit = ""

    def __init__(self, version: int, files: dict[str, str], refuse: dict[str, OSError]) -> None:
        self.version = version
        self.files = files
        self.refuse = refuse
        self.writes: list[str] = []

    def has(self, controller: str) -> bool:
        return bool(controller)

    def read(self, _controller: str, file: str) -> str:
        return self.files[file]

    def write(self, _controller: str, file: str, value: str) -> None:
        if file in self.refuse:
            raise self.refuse.pop(file)
        self.writes.append(f"{file}={value}")


def written(
    version: int,
    resources: Resources,
    files: dict[str, str] | None = None,
    refuse: dict[str, OSError] | None = None,
) -> list[str]:
    recorder: Any = Recorder(version, files or {}, refuse or {})
    cgroup_limits.update(recorder, resources)
    writes: list[str] = recorder.writes
    return writes


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (2, 1), (100, 17), (1024, 100), (262_144, 10_000), (1, 1), (999_999, 10_000)],
)
def test_shares_become_weights(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


@pytest.mark.parametrize(("weight", "converted"), [(10, 1), (500, 4950), (1000, 10_000)])
def test_block_weights_become_io_weights(weight: int, converted: int) -> None:
    assert io_weight(weight) == converted


@pytest.mark.parametrize(
    ("memory", "swap"),
    [
        (Memory(), None),
        (Memory(limit=100), None),
        (Memory(limit=100, swap=150), "50"),
        (Memory(limit=100, swap=100), "0"),
        (Memory(limit=100, swap=-1), "max"),
        (Memory(limit=-1), "max"),
        (Memory(limit=-1, swap=70), "70"),
    ],
)
def test_swap_is_what_exceeds_memory(memory: Memory, swap: str | None) -> None:
    assert swap_max(memory) == swap


@pytest.mark.parametrize("memory", [Memory(swap=70), Memory(limit=100, swap=50)])
def test_contradicting_swap_is_refused(memory: Memory) -> None:
    with pytest.raises(SpecError, match=r"memory\.swap"):
        swap_max(memory)


def test_quota_and_period_are_one_value() -> None:
    assert cpu_max(Cpu(quota=5000)) == "5000 100000"
    assert cpu_max(Cpu(quota=-1, period=20_000)) == "max 20000"
    assert cpu_max(Cpu(period=20_000)) == "max 20000"


def test_no_tasks_means_one_and_negative_means_no_limit() -> None:
    assert [pids_max(limit) for limit in (-1, 0, 7)] == ["max", "1", "7"]


@pytest.mark.parametrize(
    ("now", "memory", "order"),
    [
        (50, Memory(limit=100, swap=200), ["memsw", "limit"]),
        (500, Memory(limit=100, swap=200), ["limit", "memsw"]),
        (500, Memory(limit=100, swap=-1), ["memsw", "limit"]),
        (500, Memory(limit=-1), ["memsw", "limit"]),
        (500, Memory(limit=100), ["limit"]),
        (500, Memory(swap=900), ["memsw"]),
    ],
)
def test_memory_and_swap_are_written_so_that_they_always_fit(
    now: int, memory: Memory, order: list[str]
) -> None:
    writes = written(1, Resources(memory=memory), {"memory.limit_in_bytes": f"{now}\n"})
    assert ["memsw" if "memsw" in write else "limit" for write in writes] == order


def test_a_period_that_the_old_quota_forbids_follows_the_new_one() -> None:
    refused = OSError(22, "Invalid argument")
    writes = written(1, Resources(cpu=Cpu(quota=50, period=1000)), refuse={"cpu.cfs_period_us": refused})
    assert writes == ["cpu.cfs_quota_us=50", "cpu.cfs_period_us=1000"]


def test_a_burst_that_the_old_quota_forbids_follows_the_new_one() -> None:
    refused = OSError(22, "Invalid argument")
    cpu = Cpu(quota=50, period=100_000, burst=20)
    writes = written(2, Resources(cpu=cpu), refuse={"cpu.max.burst": refused})
    assert writes == ["cpu.max=50 100000", "cpu.max.burst=20"]


@pytest.mark.parametrize(
    ("cpu", "in_force", "whole"),
    [
        (Cpu(quota=3000), "max 50000\n", "3000 50000"),
        (Cpu(period=20_000), "5000 50000\n", "5000 20000"),
        (Cpu(period=20_000), "max 50000\n", "max 20000"),
    ],
)
def test_a_quota_or_period_alone_leaves_the_other_in_force(cpu: Cpu, in_force: str, whole: str) -> None:
    assert written(2, Resources(cpu=cpu), {"cpu.max": in_force}) == [f"cpu.max={whole}"]


def test_block_devices_have_a_line_each() -> None:
    block_io = BlockIo(
        weight=100,
        weight_device=(WeightDevice(major=8, minor=0, weight=200, leaf_weight=300),),
        throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=600),),
        throttle_write_iops_device=(ThrottleDevice(major=8, minor=16, rate=0),),
    )
    assert written(1, Resources(block_io=block_io)) == [
        "blkio.weight=100",
        "blkio.weight_device=8:0 200",
        "blkio.leaf_weight_device=8:0 300",
        "blkio.throttle.read_bps_device=8:0 600",
        "blkio.throttle.write_iops_device=8:16 0",
    ]
    missing = FileNotFoundError(2, "No such file or directory")
    assert written(2, Resources(block_io=block_io), refuse={"io.bfq.weight": missing})[:2] == [
        "io.weight=910",
        "io.bfq.weight=8:0 200",
    ]
    assert written(2, Resources(block_io=block_io))[2:] == ["io.max=8:0 rbps=600", "io.max=8:16 wiops=max"]


def test_unified_values_of_several_lines_are_several_writes() -> None:
    assert written(2, Resources(unified={"io.max": "8:0 rbps=1\n8:16 rbps=2"})) == [
        "io.max=8:0 rbps=1",
        "io.max=8:16 rbps=2",
    ]


def test_swap_without_swap_accounting_matters_only_when_some_is_asked_for() -> None:
    missing = FileNotFoundError(2, "No such file or directory")
    assert written(2, Resources(memory=Memory(limit=100, swap=100)), refuse={"memory.swap.max": missing}) == [
        "memory.max=100"
    ]
    with pytest.raises(Exception, match="this kernel accounts no swap"):
        written(2, Resources(memory=Memory(limit=100, swap=150)), refuse={"memory.swap.max": missing})


def test_every_container_may_use_the_standard_devices() -> None:
    rules = cgroup_limits.device_rules(None)
    assert all(rule.allow for rule in rules)
    assert {(rule.kind, rule.major, rule.minor) for rule in rules} >= {
        ("c", 1, 3),
        ("c", 5, 2),
        ("c", 136, -1),
    }


def test_other_letters_than_r_w_and_m_give_no_access() -> None:
    ours = Resources(devices=(DeviceRule(allow=True, type="c", access="rwa"),))
    plain = Resources(devices=(DeviceRule(allow=True, type="c", access="rw"),))
    assert cgroup_limits.device_rules(ours)[0].access == cgroup_limits.device_rules(plain)[0].access


@pytest.mark.parametrize(
    ("asked", "member"),
    [
        (Resources(cpu=Cpu(shares=200, idle=1)), r"\.cpu\.shares"),
        (Resources(unified={"cpu.idle": "1", "cpu.weight": "8"}), r"\.unified\['cpu.weight'\]"),
    ],
)
def test_a_weight_for_an_idle_cgroup_is_refused_in_words(asked: Resources, member: str) -> None:
    refusal = {"cpu.weight": OSError(EINVAL, "Invalid argument")}
    with pytest.raises(SpecError, match=member + ": unable to apply both"):
        written(2, asked, refuse=refusal)


class Scope(Recorder):
    """A cgroup of systemd's."""

    unit = "some.scope"

    def set_properties(self, _properties: object) -> None:
        self.writes.append("properties")


def test_a_limit_below_what_is_used_is_refused_before_systemd_hears_of_it() -> None:
    scope: Any = Scope(2, {"memory.current": "5000"}, {})
    memory = Memory(limit=1024, check_before_update=True)
    with pytest.raises(SpecError, match="rejecting memory limit 1024: 5000 bytes are in use"):
        cgroup_limits.update(scope, Resources(memory=memory))
    assert scope.writes == []
