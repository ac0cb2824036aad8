"""The options choose the measurements, and when a page is refused."""

from __future__ import annotations

import argparse

import pytest

from scripts.bench import __main__ as program
from scripts.bench import machine
from scripts.bench.goals import ANOTHER_SHIM
from scripts.bench.measure import Result
from scripts.bench.memory import rollup_kib
from scripts.bench.pod import read_answer
from scripts.bench.scale import FULL, QUICK, scaled

ROLLUP = """\
55d0-7ffd ---p 00000000 00:00 0                          [rollup]
Rss:               20480 kB
Pss:                4096 kB
Pss_Anon:           1024 kB
Private_Clean:       512 kB
Private_Dirty:      1024 kB
Private_Hugetlb:     100 kB
"""


def parse(*arguments: str) -> argparse.Namespace:
    return program._parser().parse_args(arguments)


def test_measures_are_taken_in_their_order_however_they_are_named() -> None:
    assert parse("--only", "B5w,B2").only == ["B2", "B5w"]
    assert parse().only == list(program.MEASURES)


@pytest.mark.parametrize(
    "arguments", [["--only", "B15"], ["--peer-shim", "x"], ["--peer-shim", "x=runc"], ["--runs", "0"]]
)
def test_impossible_measurements_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments)
    assert arguments[0] in capsys.readouterr().err


def test_peer_is_a_name_and_a_runtime() -> None:
    assert parse("--peer-shim", "other=io.containerd.other.v1").peer_shim == [
        ("other", "io.containerd.other.v1")
    ]


def test_medians_of_the_page_are_of_twenty_at_least() -> None:
    assert scaled(quick=False, runs=None) == FULL
    assert min(FULL.runs, FULL.slow_runs, FULL.http_runs, FULL.few) >= 20
    assert FULL.tasks * FULL.runs == 1000


def test_number_of_samples_can_be_given() -> None:
    scale = scaled(quick=True, runs=7)
    assert (scale.runs, scale.slow_runs, scale.http_runs, scale.tasks) == (7, 7, 7, QUICK.tasks)


@pytest.mark.parametrize("arguments", [["--quick"], ["--only", "B1"]])
def test_part_of_a_run_is_no_page(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program._refuse_to_write(program._parser(), parse("--write", *arguments))
    assert "all measures" in capsys.readouterr().err


def test_changed_tree_has_no_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "changes", lambda: [" M runwasi/linux/libc.py"])
    with pytest.raises(SystemExit):
        program._refuse_to_write(program._parser(), parse("--write"))
    assert "runwasi/linux/libc.py" in capsys.readouterr().err


def test_another_python_is_measured_as_this_one_is() -> None:
    given = parse("--quick", "--runs", "3", "--peer-shim", "a=io.containerd.a.v1")
    assert program._handed_on(given) == ["--quick", "--runs", "3", "--peer-shim", "a=io.containerd.a.v1"]


def test_results_stand_in_the_order_of_the_measures() -> None:
    keys = ["B1", "B10", "B14-rate-busy", "B16", "B5w-1", "B6", "B6-py3.13", "B16-py3.13", "B5"]
    found = program.in_order([Result(key, "", "ms", {}) for key in keys])
    assert [result.key for result in found] == [
        "B1", "B5", "B5w-1", "B6", "B6-py3.13", "B10", "B14-rate-busy", "B16", "B16-py3.13",
    ]  # fmt: skip


def test_memory_is_the_sum_of_the_members_asked_for() -> None:
    assert rollup_kib(ROLLUP, ("Private_Clean", "Private_Dirty")) == 1536
    assert rollup_kib(ROLLUP, ("Pss",)) == 4096
    assert rollup_kib(ROLLUP, ("Pss_Anon",)) == 1024


def test_named_shim_cannot_be_mistaken_for_the_placeholder() -> None:
    with pytest.raises(SystemExit):
        parse("--peer-shim", ANOTHER_SHIM)


def test_shim_says_where_it_listens_plainly_or_in_json() -> None:
    assert read_answer("unix:///run/s/1") == ("unix:///run/s/1", "v2")
    text = '{"version": 3, "address": "unix:///run/s/1", "protocol": "ttrpc"}'
    assert read_answer(text) == ("unix:///run/s/1", "v3")
