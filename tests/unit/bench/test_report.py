"""The results are printed, kept and published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripts.bench import page, report
from scripts.bench.interpreters import named
from scripts.bench.measure import Goal, Result

GOALS = (Goal("runwasi", "a & b", "<=", 0.5), Goal("runwasi", "", "<=", 20))
RESULT = Result(
    "B9", "a title", "ms", {"runwasi": [10.0, 20.0, 30.0], "a & b": [39.0, 40.0, 41.0]}, GOALS, "Note."
)
RATE = Result("B5", "a rate", "tasks/s", {"runwasi": [10.0, 30.0]})
HEADER: dict[str, Any] = {
    "commit": "0123abc",
    "date": "2026-01-02",
    "machine": ["2 cores", "containerd 1.6"],
    "scale": {"runs": 20},
    "peers": {},
    "load_of_others": [0.0, 0.1, 0.5],
}


def test_table_has_medians_ratios_and_verdicts() -> None:
    lines = report.table([RESULT]).splitlines()
    assert lines[1] == "B9  a title (ms)"
    assert lines[2].split() == ["runwasi", "20.0", "15.0", "to", "25.0", "best", "10.0"]
    assert lines[4].strip() == "runwasi / a & b: 0.50, wanted <= 0.5: met"
    assert lines[5].strip() == "runwasi: 20.00, wanted <= 20: met"


def test_best_of_a_rate_is_the_highest() -> None:
    assert "best 30.0" in report.table([RATE])
    assert "| runwasi | 20.0 | 15.0 to 25.0 | 30.0 | 2 |" in report.markdown(RATE)


def test_goal_that_is_not_met_stands_out() -> None:
    missed = RESULT._replace(goals=(Goal("runwasi", "a & b", ">=", 2),))
    assert "NOT met" in report.table([missed])
    assert "runwasi / a & b: **0.50**, wanted >= 2: **not met**." in report.markdown(missed)


def test_json_says_the_circumstances_and_gives_the_results_back() -> None:
    text = report.as_json(HEADER, [RESULT, RATE])
    kept = json.loads(text)
    assert kept["commit"] == "0123abc"
    assert kept["results"][0]["medians"] == {"runwasi": 20.0, "a & b": 40.0}
    assert kept["results"][0]["goals"][0]["found"] == 0.5
    assert kept["results"][0]["goals"][0]["met"] is True
    assert report.from_json(text) == [RESULT, RATE]


def test_plot_escapes_names_and_shows_ours_in_colour(tmp_path: Path) -> None:
    report.write_plot(RESULT, tmp_path / "plot.svg")
    plot = (tmp_path / "plot.svg").read_text()
    assert "a &amp; b" in plot
    assert plot.count('fill="#654ff0"') == 1


def test_a_plot_of_zeros_alone_can_be_drawn(tmp_path: Path) -> None:
    report.write_plot(RATE._replace(samples={"runwasi": [0.0]}), tmp_path / "plot.svg")
    assert "runwasi" in (tmp_path / "plot.svg").read_text()


def test_the_page_names_its_commit_and_keeps_hand_written_text() -> None:
    text = page.page(HEADER, [RESULT], before="# Old\n## B1\n## What it says\nWritten by hand.\n")
    assert "Commit 0123abc, measured 2026-01-02 with 20 samples" in text
    assert "- 2 cores\n- containerd 1.6\n" in text
    assert "used 10% of the CPUs in the median, and 50% at most" in text
    assert "--peer-shim" in text
    assert "## B9: a title" in text
    assert text.endswith("## What it says\nWritten by hand.\n")
    assert "## B1\n" not in text


def test_page_with_another_shim_names_no_option() -> None:
    assert "--peer-shim" not in page.page(HEADER | {"peers": {"other": "io.containerd.other.v1"}}, [RESULT])


def test_plots_that_the_page_does_not_show_go(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/B99.svg").touch()
    page.write(HEADER, [RESULT], tmp_path)
    assert [plot.name for plot in (tmp_path / "plots").iterdir()] == ["B9.svg"]


def test_result_of_another_python_says_so() -> None:
    found = named(RESULT, "3.13")
    assert (found.key, found.title) == ("B9-py3.13", "a title, Python 3.13")
