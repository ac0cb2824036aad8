"""Walk at random through what can be done to containers in both modes, and compare the machine with a model.

    python -m scripts.soak --seed 7 --minutes 15
    python -m scripts.soak --seed 7 --rounds 12          the same walk again, up to its twelfth round

A round is a few operations on containers of a private containerd, in normal and in shared mode, and of the command
line, and sometimes a disturbance: containerd restarted, a server or the daemon killed, stopped or replaced, a full
disk. Then processes, mounts, cgroups, state, statuses, limits, events, and the daemon's descriptors and memory must
be those of the model. The same seed makes the same walk.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from devtools.containerd import HOSTS
from devtools.places import SESSION_VARIABLE
from devtools.ttrpc import CallError
from scripts.soak.bed import Bed, Unexpected
from scripts.soak.disturbances import DISTURBANCES
from scripts.soak.model import Model
from scripts.soak.operations import OPERATIONS, Operation, Walk
from scripts.soak.reality import Reality, reading

_FAILURES = (
    AssertionError,
    CallError,
    EOFError,
    OSError,
    StopIteration,
    ValueError,
    Unexpected,
    subprocess.SubprocessError,
)
_OPERATIONS = (3, 9)  # in a round: at least, and at most
_DISTURBED = 0.5  # of the rounds


def main() -> int:
    """Walk as the arguments say, and end everything that was started; return the exit status."""
    given = _arguments()
    session = f"soak{uuid.uuid4().hex[:6]}"
    folder = Path(tempfile.mkdtemp(prefix=f"{session}-"))
    os.environ[SESSION_VARIABLE] = session
    model = Model()
    bed = Bed(folder, session, HOSTS[given.containerd])
    try:
        return walk(Walk(bed, model, random.Random(given.seed)), given)
    finally:
        bed.close()


def walk(walk: Walk, given: argparse.Namespace) -> int:
    """Do round after round until the time or the rounds are over, or something differs from the model.

    Returns the exit status: 0, or 1 for a difference.
    """
    _print_lines(f"seed {given.seed}, containerd {given.containerd}")
    reality = Reality(walk.bed)
    counts: Counter[str] = Counter()
    end = time.monotonic() + given.minutes * 60
    number = 0
    while number < given.rounds if given.rounds else time.monotonic() < end:
        number += 1
        done: list[str] = []
        found = _round(walk, done, counts) or _failing(lambda: reality.differences(walk.model))
        if given.verbose or found:
            _print_lines(f"round {number}:", *done)
        if found:
            _print_lines("differs from the model:", *found)
            walk_again = f"--containerd {given.containerd} --seed {given.seed} --rounds {number}"
            _print_lines(f"again: python -m scripts.soak {walk_again}")
            return 1
    memory, descriptors = reading(walk.bed.daemon.pid)
    summary = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    _print_lines(f"{number} rounds, {sum(walk.model.required.values())} events, as the model says: {summary}")
    _print_lines(f"the daemon has {memory} KiB and {descriptors} descriptors")
    return 0


def _round(walk: Walk, done: list[str], counts: Counter[str]) -> list[str]:
    """Do a round's operations; return what one of them says when it is not as it must be."""
    count = walk.chance.randint(*_OPERATIONS)
    disturbed = walk.chance.randrange(count) if walk.chance.random() < _DISTURBED else -1
    for number in range(count):
        every = DISTURBANCES if number == disturbed else OPERATIONS
        choices = [choice for choice in every if choice.can(walk.model)]
        operation = walk.chance.choices(choices, [choice.weight for choice in choices])[0]
        done.append(operation.name)
        if found := _failing(lambda: _do(operation, walk, done)):  # noqa: B023  called at once
            return found
        counts[operation.name] += 1
    return []


def _do(operation: Operation, walk: Walk, done: list[str]) -> list[str]:
    done[-1] += f": {operation.do(walk)}"
    return []


def _failing(look: Callable[[], list[str]]) -> list[str]:
    """Return what a look finds, or the error that it ends with."""
    try:
        return look()
    except _FAILURES as error:
        return [f"{type(error).__name__}: {error}"]


def _print_lines(*lines: str) -> None:
    print("\n  ".join(lines), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 20), help="of the walk (random)")
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="how long (%(default)s)")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="how many, however long they take")
    parser.add_argument(
        "--containerd", choices=sorted(HOSTS), default="1.6", help="its release (%(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="tell every operation")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
