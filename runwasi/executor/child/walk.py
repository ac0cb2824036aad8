"""Walks the freshly forked child through its steps, and sends a failure to the parent."""

from __future__ import annotations

import os

from runwasi.executor.child.steps import EXEC_STEPS, INIT_STEPS
from runwasi.executor.protocol import CreatorGone, failure_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn, TypeVar

    from runwasi.executor.child.progress import InitProgress, Progress
    from runwasi.executor.protocol import Channel

    C = TypeVar("C", bound=Progress)


def become_init(ctx: InitProgress) -> NoReturn:
    """Become a container's first process; never returns to the code that forked us."""
    timing = ctx.plan.timing
    _walk(ctx, INIT_STEPS if timing is None else timing.timed(INIT_STEPS))


def become_exec(ctx: Progress) -> NoReturn:
    """Become a further process of a container; never returns to the code that forked us."""
    _walk(ctx, EXEC_STEPS)


def _walk(ctx: C, steps: Iterable[Callable[[C], None]]) -> NoReturn:
    """Take the steps one by one.

    An exception other than an operating system's or a user's fault is a defect of ours; the parent hears of it too,
    so that no child ends in silence. Only a child whose creator gave up does.
    """
    name = ""
    try:
        for step in steps:
            name = step.__name__
            step(ctx)
    except CreatorGone:
        pass
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the parent's code
        _report_failure(ctx.verdict, error, name)
    os._exit(1)


def _report_failure(verdict: Channel, error: BaseException, step: str) -> None:
    """Send a failure to the parent as fields with the step's name, or print it if no parent waits for us.

    No parent waits between "ready" and "start", nor once a module's process has reported that it runs.
    """
    try:
        verdict.send_failure(error, step)
    except OSError:
        _, _, text, _ = failure_fields(error, step)
        try:
            os.write(2, f"runwasi: {text}\n".encode(errors="surrogateescape"))
        except OSError:
            pass  # nobody is left to read it
