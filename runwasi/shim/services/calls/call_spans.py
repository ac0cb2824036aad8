"""Adds spans below the Task service's calls: the steps of Create and Start, and the processes they start.

Imported only where traces are configured.
"""

from __future__ import annotations

from runwasi.executor.telemetry.timing import CHILD, PARENT, STARTER, read_marks
from runwasi.shim.traces.tracing import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runwasi.executor.telemetry.timing import Mark, Timing
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.services.tasks.task import Task
    from runwasi.shim.services.tasks.task_process import TaskProcess
    from runwasi.shim.traces.tracing import Tracer

_GATE = "wait_for_start"
"""The child's step that lasts from the end of Create to Start."""


def created(reactor: Reactor, span: Span, timing: Timing | None) -> None:
    """Add a Create's steps once it is answered, even by an error: the parent's, and the child's up to its gate."""
    if timing is not None:
        reactor.call_soon(lambda: _add_create_steps(span, timing))


def _add_create_steps(span: Span, timing: Timing) -> None:
    marks = timing.marks()
    timing.close()
    span.add_steps(mark for mark in marks if mark.who == PARENT)
    child = [mark for mark in marks if mark.who == CHILD]
    span.add_steps(child[: _gate(child)])


def started(reactor: Reactor, span: Span, task: Task, process: TaskProcess) -> None:
    """Begin the span of a process that a Start began. Once the Start is answered, add its steps; an exec has none."""
    running = process.span = span.begin("exec" if process.exec_id else "container")
    running.note({"container.id": task.id, "process.pid": process.pid, "runwasi.kind": task.container.kind})
    running.note({"runwasi.exec.id": process.exec_id})
    if not process.exec_id:
        reactor.call_soon(lambda: _add_start_steps(span, task.container.folder.path))


def _add_start_steps(span: Span, folder: str) -> None:
    try:
        marks = read_marks(folder)
    except FileNotFoundError:
        return  # its Create was not traced
    child = [mark for mark in marks if mark.who == CHILD]
    span.add_steps(child[_gate(child) :])
    span.add_steps(mark for mark in marks if mark.who == STARTER)


def take_over(tracer: Tracer, task: Task, state: Mapping[str, Any]) -> None:
    """Continue the spans of a task's processes from the state of the program that we replace."""
    kept = [state["init"], *state["execs"]]
    for process, known in zip((task.init, *task.execs.values()), kept, strict=True):
        if known.get("span"):
            process.span = Span.taken_over(tracer, known["span"])


def _gate(child: list[Mark]) -> int:
    """Return the place of the mark that ends the child's wait for Start, or the number of marks without one."""
    return next((place for place, mark in enumerate(child) if mark.name == _GATE), len(child))
