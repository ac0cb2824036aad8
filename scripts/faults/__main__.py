"""Fail every system call of the command line's commands in turn, and report what comes of it.

    python -m scripts.faults                                    everything: hours
    python -m scripts.faults --case create --kind wasm --fault ENOMEM
    python -m scripts.faults --every 20 --seed 7                one fault in twenty, of each command

For every call of every process that a command makes, with every fault: the command refuses in one clear line, or does
all that it says; then `delete --force` leaves nothing. See injector.c for what is counted.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from devtools import leaks
from devtools.containerd import HOSTS, running_containerd
from devtools.folders import remove_cgroup, remove_folder
from devtools.places import ROOT, SESSION_VARIABLE
from scripts.faults.cases import CASES, Kind, Machine
from scripts.faults.injection import (
    FAULTS,
    WRONG,
    Fault,
    Injector,
    Outcome,
    build,
    tell,
)
from scripts.faults.page import with_results
from scripts.faults.reload import Reloads

KINDS = ("native", "wasm", "terminal")
RELOAD, BOTH_MODES = "reload", "both modes"
Table = dict[tuple[str, str], Counter[str]]


def main() -> int:
    given = _arguments()
    tell(f"seed {given.seed}")
    with ProcessPoolExecutor(given.jobs) as pool:
        results = list(pool.map(work, [given] * given.jobs, range(given.jobs)))
    table = merged([found for found, _ in results])
    for place, counts in table.items():
        tell(f"{' '.join(place)}: {dict(counts)}")
    if given.write:
        page = ROOT / "docs/faults.md"
        page.write_text(with_results(page.read_text(), table, given.every))
    return 1 if any(left for _, left in results) or any(counts[WRONG] for counts in table.values()) else 0


def merged(tables: list[Table]) -> Table:
    """Add up what several processes have counted; each has seen all processes and calls."""
    table: Table = {}
    for found in tables:
        for place, counts in found.items():
            sum_of_all = table.setdefault(place, Counter())
            sum_of_all.update(counts)
            for name in ("processes", "calls"):
                sum_of_all[name] = counts[name]
    return table


def work(given: argparse.Namespace, share: int) -> tuple[Table, list[str]]:
    """Inject one of the shares of the faults, in a session of our own; return the counts, and what is left behind."""
    session = f"faults{uuid.uuid4().hex[:6]}"
    os.environ |= {SESSION_VARIABLE: session, "RUNWASI_DAEMON": "off"}
    folder = Path(tempfile.mkdtemp(prefix=f"{session}-"))
    before = leaks.take(session)
    machine = Machine(folder, session)
    table: Table = {}
    try:
        if given.case != [RELOAD]:
            _run_commands(machine, table, given, share)
        if not given.case or RELOAD in given.case:
            _run_reloads(folder, session, table, given, share)
    finally:
        machine.close()
        remove_folder(folder)
        remove_cgroup(session)
    left = leaks.since(before, session)
    for line in left:
        tell(f"left behind: {line}")
    return table, left


def _run_commands(machine: Machine, table: Table, given: argparse.Namespace, share: int) -> None:
    for name in given.kind or KINDS:
        kind = Kind(machine, name)
        injector = Injector(machine, kind)
        for case in kind.cases():
            if not given.case or case.name in given.case:
                calls, inject = injector.calls(case), partial(injector.inject, case)
                table[case.name, name] = run((case.name, name), calls, inject, given, share)


def _run_reloads(folder: Path, session: str, table: Table, given: argparse.Namespace, share: int) -> None:
    injector = folder / "reload-injector"
    build(injector)
    with running_containerd(folder / "containerd", HOSTS["1.6"], namespace=session) as containerd:
        reloads = Reloads(folder, session, containerd, injector)
        try:
            place = RELOAD, BOTH_MODES
            table[place] = run(place, reloads.calls(), reloads.inject, given, share)
        finally:
            reloads.close()


def run(
    place: tuple[str, str],
    calls: dict[int, int],
    inject: Callable[[Fault], Outcome],
    given: argparse.Namespace,
    share: int,
) -> Counter[str]:
    """Inject a share of the faults asked for into so many calls of each process; return what came of them."""
    name = " ".join(place)
    chance = random.Random(f"{given.seed} {name}")
    counts = Counter({"processes": len(calls), "calls": sum(calls.values())})
    asked = (
        fault
        for fault in faults(calls, given.fault or FAULTS)
        if not chance.randrange(given.every) and (not given.at or (fault.process, fault.call) in given.at)
    )
    for fault in islice(asked, share, None, given.jobs):
        outcome = inject(fault)
        counts[outcome.what] += 1
        if outcome.what == WRONG or given.verbose:
            where = f"{name} process {fault.process} call {fault.call} {fault.kind}"
            tell(f"{outcome.what}: {where}: {outcome.said}")
    return counts


def faults(calls: dict[int, int], kinds: tuple[str, ...]) -> Iterator[Fault]:
    """Every fault in every call of every process."""
    for process, count in calls.items():
        for call in range(1, count + 1):
            for kind in kinds:
                yield Fault(process, call, kind)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--case", action="append", choices=(*CASES, RELOAD), help="only this command; again for more"
    )
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="only this sort of container; again for more"
    )
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this fault; again for more")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="inject one fault in N, by chance (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 20), help="of that chance (random)")
    parser.add_argument(
        "--at", action="append", type=_place, metavar="PROCESS:CALL", help="only there; again for more"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at a time (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table in docs/faults.md")
    parser.add_argument("--verbose", action="store_true", help="tell what came of every fault")
    return parser.parse_args()


def _place(text: str) -> tuple[int, int]:
    process, _, call = text.partition(":")
    return int(process), int(call)


if __name__ == "__main__":
    sys.exit(main())
