"""The waterfall that `runwasi timing` draws from the marks of a start."""

from __future__ import annotations

from pathlib import Path

from runwasi.cli.timing_command import steps_of
from runwasi.executor.telemetry.timing import CHILD, PARENT, STARTER, Mark, Timing, mark_start, read_marks

_MS = 1_000_000


def _marks(*marks: tuple[str, str, float]) -> list[Mark]:
    return [Mark(who, name, int((1000 + at) * _MS)) for who, name, at in marks]


def test_a_step_lasts_from_the_mark_before_it_in_its_own_process() -> None:
    steps = steps_of(
        _marks((PARENT, "", 0), (PARENT, "claim", 2), (CHILD, "", 3), (CHILD, "mount_rootfs", 7))
    )
    assert [(step.who, step.name, step.begin, step.length) for step in steps] == [
        (PARENT, "claim", 0.0, 2.0),
        (CHILD, "mount_rootfs", 3.0, 4.0),
    ]


def test_the_time_between_create_and_a_later_start_is_left_out() -> None:
    steps = steps_of(
        _marks(
            (PARENT, "", 0),
            (PARENT, "create", 10),
            (CHILD, "", 5),
            (CHILD, "report_ready", 9),
            (CHILD, "wait_for_start", 5011),
            (CHILD, "filter_last", 5012),
            (STARTER, "", 5010),
            (STARTER, "start", 5014),
        )
    )
    times = {step.name: (step.begin, step.length) for step in steps}
    assert times["wait_for_start"] == (9.0, 2.0)
    assert times["filter_last"] == (11.0, 1.0)
    assert times["start"] == (10.0, 4.0)


def test_a_step_that_ends_between_create_and_start_stays_before_the_next() -> None:
    steps = steps_of(
        _marks(
            (PARENT, "", 0),
            (PARENT, "create", 10),
            (CHILD, "", 5),
            (CHILD, "report_ready", 4000),
            (CHILD, "wait_for_start", 5011),
            (CHILD, "filter_last", 5012),
            (STARTER, "", 5010),
            (STARTER, "start", 5014),
        )
    )
    of_child = [(step.name, step.begin, step.length) for step in steps if step.who == CHILD]
    assert of_child == [("report_ready", 5.0, 5.0), ("wait_for_start", 10.0, 1.0), ("filter_last", 11.0, 1.0)]


def test_all_marks_are_read_back_the_parents_the_childs_and_the_starters(
    tmp_path: Path,
) -> None:
    timing = Timing.of_this_process()
    timing.mark("load_bundle")
    timing.keep(str(tmp_path))
    timing.mark("claim")

    def first(_: object) -> None: ...

    def last(_: object) -> None: ...

    for step in timing.timed((first, last)):
        step(None)
        if step is last:
            break
    mark_start(str(tmp_path), 5)
    assert [(mark.who, mark.name) for mark in read_marks(str(tmp_path))] == [
        (PARENT, ""),
        (PARENT, "start_interpreter"),
        (PARENT, "load_bundle"),
        (PARENT, "claim"),
        (CHILD, ""),
        (CHILD, "first"),
        (STARTER, ""),
        (STARTER, "start"),
    ]
