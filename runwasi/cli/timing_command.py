"""timing: shows how long each step of a container's start took, as a waterfall.

Two processes are at work: the parent, which creates the container, and the child, which becomes its program.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.options import Option, UsageError
from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.telemetry.timing import CHILD, PARENT, STARTER, read_marks
from runwasi.oci.encode import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.executor.telemetry.timing import Mark

_BAR = 48  # characters for the whole start
_SHORT = 0.05  # milliseconds; what takes less shares a line per process


class Step:
    """A step: the process that took it, its name, and its beginning and length in milliseconds."""

    __slots__ = ("begin", "length", "name", "who")

    def __init__(self, who: str, name: str, begin: float, length: float) -> None:
        self.who = who
        self.name = name
        self.begin = begin
        self.length = length


def steps_of(marks: list[Mark]) -> list[Step]:
    """Return the steps that marks delimit, by their beginning, without the time between create and start."""
    began = min((mark.at for mark in marks), default=0)
    steps = []
    for last, mark in pairwise(marks):
        if mark.who == last.who and mark.name:
            steps.append(Step(mark.who, mark.name, (last.at - began) / 1e6, (mark.at - last.at) / 1e6))
    return sorted(_without_idle(steps), key=lambda step: step.begin)


def _without_idle(steps: list[Step]) -> list[Step]:
    """Take out what passes between the end of `create` and the beginning of a later `start`: nobody works then."""
    starts = [step for step in steps if step.who == STARTER]
    if not starts:
        return steps
    begin = starts[0].begin
    created = max(step.begin + step.length for step in steps if step.who == PARENT)

    def worked(at: float) -> float:  # the child may end a step in between: the order stays
        return at - (begin - created) if at >= begin else min(at, created)

    for step in steps:
        end = worked(step.begin + step.length)
        step.begin = worked(step.begin)
        step.length = end - step.begin
    return steps


def _timing(given: Given, settings: Settings) -> int:
    form = given.text("format")
    if form not in {"table", "json"}:
        raise UsageError(f"invalid format option: {form}: expected table or json")
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    try:
        steps = steps_of(read_marks(container.folder.path))
    except FileNotFoundError:
        why = (
            "nobody measured its start: create it with --timing, or let containerd's shims log at level debug"
            " or send traces"
        )
        raise ContainerError(f"container {container.id}: {why}") from None
    if form == "json":
        output.write(dumps([_record(step) for step in steps], "  ") + "\n")
    else:
        output.write(_waterfall(steps, colour=os.isatty(1)))
    return 0


def show_on_stderr(folder: str) -> None:
    """Print the waterfall of the container in a state folder on standard error."""
    sys.stderr.write(_waterfall(steps_of(read_marks(folder)), colour=os.isatty(2)))
    sys.stderr.flush()


def _record(step: Step) -> dict[str, object]:
    return {
        "process": step.who,
        "step": step.name,
        "beginMilliseconds": round(step.begin, 3),
        "milliseconds": round(step.length, 3),
    }


_COLOURS = {PARENT: "\x1b[36m", CHILD: "\x1b[32m", STARTER: "\x1b[35m"}


def _waterfall(steps: list[Step], *, colour: bool) -> str:
    whole = max((step.begin + step.length for step in steps), default=0.0)
    lines = [f"{'process':<8} {'step':<30} {'at ms':>8} {'took':>8}"]
    for step in steps:
        if step.length >= _SHORT:
            bar = _bar(step, whole)
            if colour:
                bar = f"{_COLOURS[step.who]}{bar}\x1b[0m"
            name = step.name.replace("_", " ")
            lines.append(f"{step.who:<8} {name:<30} {step.begin:8.2f} {step.length:8.2f}  {bar}".rstrip())
    for who in _COLOURS:
        short = [step.length for step in steps if step.who == who and step.length < _SHORT]
        if short:
            lines.append(f"{who:<8} {f'{len(short)} shorter steps':<30} {'':8} {sum(short):8.2f}")
    lines.append(f"{'':8} {'until the program runs':<30} {'':8} {whole:8.2f}")
    return "\n".join(lines) + "\n"


def _bar(step: Step, whole: float) -> str:
    begin = int(step.begin / whole * _BAR)
    return " " * begin + "█" * max(1, round(step.length / whole * _BAR))


COMMANDS = {
    "timing": Command(
        "timing",
        "show how long each step of a container's start took",
        _timing,
        arguments="ID",
        description="""\
The container must have been created with --timing, or by a shim of a containerd
whose log level is debug or which records a trace of the call.

The parent creates the container, the child becomes its program, and the starter
is a `runwasi start` of its own. Their steps overlap. Time between create and
start, when nobody works, is left out.""",
        options=(Option("format", "table or json", short="f", default="table", value="FORM"),),
        least=1,
        most=1,
    )
}
