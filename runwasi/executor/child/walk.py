"""The freshly forked child: it walks through its steps, and whatever fails crosses to the parent."""

from __future__ import annotations

import os

from runwasi.executor.child.steps import EXEC_STEPS, INIT_STEPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn, TypeVar

    from runwasi.executor.child.progress import InitProgress, Progress

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

    A failure crosses to the parent as fields with the step's name. What is not an operating system's or a user's
    fault is a defect of ours, but it too must reach the parent rather than end in silence.
    """
    name = ""
    try:
        for step in steps:
            name = step.__name__
            step(ctx)
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the parent's code
        try:
            ctx.verdict.send_failure(error, name)
        except OSError:
            pass  # nobody is left to hear it
    os._exit(1)
