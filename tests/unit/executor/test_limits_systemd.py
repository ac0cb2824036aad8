"""Limits as properties of a unit, and properties as annotations spell them."""

from __future__ import annotations

from typing import Any

import pytest

from runwasi.executor.limits.limits_systemd import annotated, bitmap, in_whole_percents, properties
from runwasi.oci.decode import SpecError
from runwasi.oci.resources import BlockIo, Cpu, Memory, Pids, Resources

INFINITY = (1 << 64) - 1


def test_version_2_properties() -> None:
    resources = Resources(
        memory=Memory(limit=100, swap=150, reservation=50),
        cpu=Cpu(shares=1024, quota=1500, period=10_000, cpus="0-1,9", mems="0"),
        pids=Pids(limit=0),
        unified={"memory.high": "max", "cpu.weight": "7", "nosuch.file": "x"},
    )
    assert properties(resources, 2) == [
        ("MemoryMax", ("t", 100)),
        ("MemoryLow", ("t", 50)),
        ("MemorySwapMax", ("t", 50)),
        ("CPUWeight", ("t", 100)),
        ("CPUQuotaPeriodUSec", ("t", 10_000)),
        ("CPUQuotaPerSecUSec", ("t", 150_000)),
        ("AllowedCPUs", ("ay", b"\x03\x02")),
        ("AllowedMemoryNodes", ("ay", b"\x01")),
        ("TasksMax", ("t", 1)),
        ("MemoryHigh", ("t", INFINITY)),
        ("CPUWeight", ("t", 7)),
    ]


def test_version_1_properties() -> None:
    resources = Resources(
        memory=Memory(limit=-1, swap=-1, reservation=5),
        cpu=Cpu(shares=1024, quota=-1),
        block_io=BlockIo(weight=10),
    )
    assert properties(resources, 1) == [
        ("MemoryLimit", ("t", INFINITY)),
        ("CPUShares", ("t", 1024)),
        ("CPUQuotaPerSecUSec", ("t", INFINITY)),
        ("BlockIOWeight", ("t", 10)),
    ]


@pytest.mark.parametrize(("quota", "period", "rounded"), [(25_500, 50_000, 510_000), (333, 100_000, 10_000)])
def test_quotas_are_rounded_up_to_whole_percents(quota: int, period: int, rounded: int) -> None:
    found = dict(properties(Resources(cpu=Cpu(quota=quota, period=period)), 2))
    assert found["CPUQuotaPerSecUSec"] == ("t", rounded)


@pytest.mark.parametrize(
    ("quota", "period", "kept"),
    [(500_000, 900_000, 504_000), (20_000, None, 20_000), (-1, 900_000, -1), (None, 900_000, None)],
)
def test_the_cgroup_gets_the_quota_that_systemd_keeps(
    quota: int | None, period: int | None, kept: int | None
) -> None:
    cpu = in_whole_percents(Resources(cpu=Cpu(quota=quota, period=period, shares=5))).cpu
    assert cpu == Cpu(quota=kept, period=period, shares=5)


def test_idle_takes_the_place_of_a_weight() -> None:
    idle = [("CPUWeight", ("t", 0))]
    assert properties(Resources(cpu=Cpu(idle=1, shares=5)), 2) == idle
    assert properties(Resources(unified={"cpu.idle": "1", "cpu.weight": "8"}), 2) == idle


def test_unified_cpu_max() -> None:
    assert properties(Resources(unified={"cpu.max": "max 20000"}), 2) == [
        ("CPUQuotaPeriodUSec", ("t", 20_000)),
        ("CPUQuotaPerSecUSec", ("t", INFINITY)),
    ]
    with pytest.raises(SpecError, match=r"unified\['pids.max'\]: must be a number or max"):
        properties(Resources(unified={"pids.max": "many"}), 2)


def test_bitmaps_have_bit_n_for_number_n() -> None:
    assert bitmap("0,3-5,16") == bytes([0b111001, 0, 1])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)),
        ("'a word'", ("s", "a word")),
        ('"it\'s"', ("s", "it's")),
        (r"'it\'s'", ("s", "it's")),
        ("7", ("i", 7)),
        ("uint64 0x10", ("t", 16)),
        ("int32 -5", ("i", -5)),
        ("1.5", ("d", 1.5)),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("""['a,b', "c,'d'", ]""", ("as", ["a,b", "c,'d'"])),
        ("[]", ("as", [])),
        ("[uint32 1, uint32 2]", ("au", [1, 2])),
    ],
)
def test_values_are_read_as_gvariant_text(text: str, value: tuple[str, Any]) -> None:
    assert annotated({"org.systemd.property.Some": text}) == [("Some", value)]


def test_seconds_become_microseconds() -> None:
    assert annotated({"org.systemd.property.TimeoutStopSec": "1.5"}) == [
        ("TimeoutStopUSec", ("t", 1_500_000))
    ]
    assert annotated({"org.systemd.property.WatchdogUSec": "uint64 5"}) == [("WatchdogUSec", ("t", 5))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Some", "word"),
        ("Some", "'open"),
        ("Some", "'a' 'b'"),
        ("Some", "['a', 5]"),
        ("Some", "['1]"),
        ("Some", "uint99 5"),
        ("Some", ""),
        ("So", "true"),
        ("Some.Thing", "true"),
        ("TimeoutStopSec", "'soon'"),
    ],
)
def test_an_unreadable_value_names_the_annotation(name: str, text: str) -> None:
    with pytest.raises(SpecError, match=rf'^\$\.annotations\["org\.systemd\.property\.{name}"\]: '):
        annotated({f"org.systemd.property.{name}": text})


def test_other_annotations_are_no_properties() -> None:
    assert annotated({"org.example": "true"}) == []
