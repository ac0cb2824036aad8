"""Measure runwasi beside its peers: print tables, write JSON, and with --write docs/benchmarks.md.

    make bench                                                  install this commit, measure all, write the page
    python -m scripts.bench --quick                             less than three minutes, fewer samples
    python -m scripts.bench --only B2,B6 --runs 40              some measures
    python -m scripts.bench --peer-shim other=io.containerd.other.v1     beside another shim, its program in PATH
    python -m scripts.bench --python /usr/bin/python3.13        memory under another Python as well

It measures the work tree's own programs, or those in the folder that RUNWASI_BIN names.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devtools.places import BIN, BUILD, ROOT
from scripts.bench import (
    bed,
    caching,
    compute,
    http,
    idle,
    interpreters,
    load,
    machine,
    memory,
    page,
    report,
    starts,
    tasks,
)
from scripts.bench.measure import Result
from scripts.bench.scale import scaled

Measure = Callable[[bed.Bed], list[Result]]

MEASURES: dict[str, Measure] = {
    "B1": starts.warm_pod,
    "B2": starts.cold_native,
    "B3": starts.cold_wasm,
    "B4": starts.command_line,
    "B5": tasks.through_containerd,
    "B5w": tasks.in_a_warm_shim,
    "B6": memory.idle_pods,
    "B7": memory.shared_pods,
    "B8": memory.idle_wasm,
    "B9": load.output,
    "B10": compute.steady_state,
    "B11": caching.second_start,
    "B12": idle.wakeups,
    "B13": load.crowds,
    "B14": http.requests,
    "B16": memory.daemon_alone,
}


def main() -> None:
    parser = _parser()
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("the benchmarks make namespaces and cgroups: run them as root")
    commit = machine.commit()
    if given.write:
        _refuse_to_write(parser, given)
    header, results = _measure(given, commit)
    for python in given.python:
        results += interpreters.measure(python, _handed_on(given))
    results = in_order(results)
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(report.as_json(header, results))
    if given.write:
        if machine.commit() != commit:
            sys.exit(
                f"the work tree changed while it was measured: {', '.join(machine.changes()) or 'a commit'}"
            )
        page.write(header, results, ROOT / "docs")


def _measure(given: argparse.Namespace, commit: str) -> tuple[dict[str, Any], list[Result]]:
    """Measure what was asked for; returns also the circumstances."""
    peers = dict(given.peer_shim)
    scale = scaled(given.quick, given.runs)
    results: list[Result] = []
    others = []
    with bed.prepared(peers, scale) as ready:
        for key in given.only:
            others.append(machine.load_of_others())
            started = time.monotonic()
            found = MEASURES[key](ready)
            print(report.table(found), flush=True)
            print(f"    ({key} took {time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
            results += found
    header = {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.description(peers),
        "scale": scale._asdict(),
        "peers": peers,
        "load_of_others": others,
    }
    return header, results


def _refuse_to_write(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Refuse a page that would not be one whole run of one commit, as it is installed."""
    if given.quick or list(given.only) != list(MEASURES):
        parser.error("--write is for all measures in full; it goes without --quick and --only")
    changes = machine.changes()
    if changes:
        parser.error(f"--write is for a commit; the work tree has changes: {', '.join(changes)}")
    if BIN == BUILD / "bin":
        parser.error("--write is for installed programs: use `make bench`, or set RUNWASI_BIN")


def in_order(results: Sequence[Result]) -> list[Result]:
    """Return results in the order of the measures, those of another Python behind those of the first."""
    known = list(MEASURES)
    return sorted(results, key=lambda result: known.index(result.key.partition("-")[0]))


def _handed_on(given: argparse.Namespace) -> list[str]:
    """Return the options that also hold for another Python."""
    options = ["--quick"] if given.quick else []
    if given.runs is not None:
        options += ["--runs", str(given.runs)]
    for name, runtime in given.peer_shim:
        options += ["--peer-shim", f"{name}={runtime}"]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", type=_measures, default=list(MEASURES), metavar="KEY,...", help=f"of {', '.join(MEASURES)}"
    )
    parser.add_argument("--quick", action="store_true", help="a developer's turn: few samples, small crowds")
    parser.add_argument("--runs", type=_positive, help="samples of each contender (20; 4 with --quick)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument(
        "--json", type=Path, default=BUILD / "benchmarks.json", metavar="FILE", help="(%(default)s)"
    )
    parser.add_argument(
        "--peer-shim", action="append", default=[], type=_peer, metavar="NAME=RUNTIME",
        help="another shim to measure, its program in PATH; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--python", action="append", default=[], type=Path, metavar="PATH",
        help=f"another interpreter to measure {', '.join(interpreters.MEASURES)} with; may be repeated",
    )  # fmt: skip
    return parser


def _measures(text: str) -> list[str]:
    keys = text.split(",")
    unknown = [key for key in keys if key not in MEASURES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]}; there are {', '.join(MEASURES)}")
    return [key for key in MEASURES if key in keys]


def _peer(text: str) -> tuple[str, str]:
    name, separator, runtime = text.partition("=")
    if not (name and separator and runtime.count(".") == 3):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=RUNTIME, as in other=io.containerd.other.v1")
    return name, runtime


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
