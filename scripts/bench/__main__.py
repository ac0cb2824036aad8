"""`make bench`, or `python -m scripts.bench B1 B4 --runs 40`: measure, print, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from devtools.places import BUILD, ROOT
from scripts.bench import bed, caching, compute, http, load, memory, report, starts
from scripts.bench.measure import Result

Measure = Callable[[bed.Bed, int], "Result | list[Result]"]

MEASURES: dict[str, Measure] = {
    "B1": starts.warm_pod,
    "B2": starts.cold_native,
    "B3": starts.cold_wasm,
    "B4": starts.command_line,
    "B5": load.tasks_per_second,
    "B6": memory.idle_pods,
    "B7": memory.shared_pods,
    "B8": memory.idle_wasm,
    "B9": load.output,
    "B10": compute.steady_state,
    "B11": caching.second_start,
    "B12": memory.idle_wakeups,
    "B13": load.crowds,
    "B14": http.requests,
}

_INTRODUCTION = """\
# Benchmarks

Ours and its peers are measured in one run, in turns, and compared by their medians; a goal is a ratio,
because absolute times differ from machine to machine and from hour to hour. `make bench` measures and writes
this page.

Measured on {machine}; runwasi {commit}, {date}.
"""


_READING = "## What it says\n"
"""Where the page's part begins that people write; it is kept."""


def main() -> None:
    given = _arguments()
    if os.geteuid() != 0:
        sys.exit("the benchmarks make namespaces and cgroups: run them as root")
    results: list[Result] = []
    with bed.prepared(dict(given.peer_shim)) as ready:
        for key in given.measures or MEASURES:
            measured = MEASURES[key](ready, given.runs)
            found = measured if isinstance(measured, list) else [measured]
            print(report.table(found), flush=True)
            results += found
    kept = BUILD / "benchmarks.json"
    before = report.from_json(kept.read_text()) if kept.exists() else []
    results = sorted(
        [*results, *(one for one in before if one.key not in {new.key for new in results})],
        key=lambda result: list(MEASURES).index(result.key.partition("-")[0]),
    )
    kept.write_text(report.as_json(results))
    if given.write:
        _write_page(results, ROOT / "docs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; all")
    parser.add_argument("--runs", type=int, default=20, help="samples of each contender (%(default)s)")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md of these and earlier measures"
    )
    parser.add_argument(
        "--peer-shim", action="append", default=[], type=_peer, metavar="NAME=RUNTIME",
        help="another shim to measure, its program in PATH; may be repeated",
    )  # fmt: skip
    given = parser.parse_args()
    unknown = [key for key in given.measures if key not in MEASURES]
    if unknown:
        parser.error(f"there is no measure {unknown[0]}; there are {', '.join(MEASURES)}")
    return given


def _peer(text: str) -> tuple[str, str]:
    name, separator, runtime = text.partition("=")
    if not (name and separator and runtime):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=RUNTIME")
    return name, runtime


def _write_page(results: list[Result], docs: Path) -> None:
    plots = docs / "plots"
    plots.mkdir(exist_ok=True)
    page = [_INTRODUCTION.format(machine=bed.machine(), commit=bed.commit(), date=time.strftime("%Y-%m-%d"))]
    for result in results:
        report.write_plot(result, plots / f"{result.key}.svg")
        page.append(f"{report.markdown(result)}\n![{result.key}](plots/{result.key}.svg)\n")
    target = docs / "benchmarks.md"
    kept = target.read_text().partition(_READING)[2] if target.exists() else ""
    target.write_text("\n".join([*page, _READING + kept]))


if __name__ == "__main__":
    main()
