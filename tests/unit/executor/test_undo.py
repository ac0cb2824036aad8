"""Undo runs in reverse, always to its end, and not at all once committed."""

from __future__ import annotations

import pytest

from runwasi.executor.undo import Undo
from runwasi.linux.waiting import finish


class Fault(Exception):
    """An error in a block."""


def fail_after(done: list[int], *, commit: bool) -> None:
    with Undo() as undo:
        undo.add(done.append, 1)
        undo.add(done.append, 2)
        if commit:
            undo.commit()
        raise Fault


def test_a_failing_block_is_taken_back_in_reverse_order() -> None:
    done: list[int] = []
    with pytest.raises(Fault):
        fail_after(done, commit=False)
    assert done == [2, 1]


def test_committed_work_stays() -> None:
    done: list[int] = []
    with pytest.raises(Fault):
        fail_after(done, commit=True)
    assert done == []


def test_an_action_that_fails_does_not_keep_the_others() -> None:
    done: list[int] = []
    undo = Undo()
    undo.add(done.append, 1)
    undo.add(open, "/does/not/exist")
    finish(undo.run())
    assert done == [1]


def test_the_last_action_waits_for_all_others() -> None:
    done: list[str] = []
    undo = Undo()
    undo.add(done.append, "first")
    undo.add_last(done.append, "last")
    undo.add(done.append, "second")
    finish(undo.run())
    assert done == ["second", "first", "last"]
