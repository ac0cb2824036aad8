"""Writes docs/benchmarks.md: one run of one clean commit, and below it what people wrote about it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.bench import report
from scripts.bench.measure import Result

_READING = "## What it says\n"
"""Where the page's part begins that people write; it is kept."""

_INTRODUCTION = """\
# Benchmarks

Ours and its peers are measured in one run, in turns (A B A B), and compared by their medians; a goal is a ratio,
because absolute times differ from machine to machine and from hour to hour. `make bench` measures and writes
this page, from a commit without changes only.

Commit {commit}, measured {date} with {samples} samples of each contender, unless a table says otherwise:

{machine}

Before each measure, other processes used {median:.0%} of the CPUs in the median, and {top:.0%} at most.

{absent}
B15, fifty pods at once in a Kubernetes, needs a cluster and is measured in one, not by this program. *Busy* means a
program that computes for each CPU, beside what is measured.
"""
_WITHOUT_PEERS = """\
No other shim took part: `--peer-shim NAME=RUNTIME` measures one whose program is in PATH, and adds the goals
about it.
"""


def page(header: Mapping[str, Any], results: Sequence[Result], before: str = "") -> str:
    """Return the page's text; before is the page as it was."""
    introduction = _INTRODUCTION.format(
        commit=header["commit"],
        date=header["date"],
        samples=header["scale"]["runs"],
        machine="\n".join(f"- {line}" for line in header["machine"]),
        median=statistics.median(header["load_of_others"]),
        top=max(header["load_of_others"]),
        absent="" if header["peers"] else _WITHOUT_PEERS,
    )
    sections = [f"{report.markdown(result)}\n![{result.key}](plots/{result.key}.svg)\n" for result in results]
    return "\n".join([introduction, *sections, _READING + before.partition(_READING)[2]])


def write(header: Mapping[str, Any], results: Sequence[Result], docs: Path) -> None:
    """Write the page and its plots, and remove the plots that it no longer shows."""
    plots = docs / "plots"
    plots.mkdir(exist_ok=True)
    for plot in plots.glob("*.svg"):
        plot.unlink()
    for result in results:
        report.write_plot(result, plots / f"{result.key}.svg")
    target = docs / "benchmarks.md"
    target.write_text(page(header, results, target.read_text() if target.exists() else ""))
