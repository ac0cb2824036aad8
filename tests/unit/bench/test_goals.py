"""Goals hold for the contenders that they name."""

from __future__ import annotations

from scripts.bench.goals import CRUN, OURS, RUNC, SHARED, goals
from scripts.bench.measure import Goal


def test_goals_of_named_shims_are_there_once_for_each() -> None:
    found = goals("B3", [OURS, SHARED, "one", "two"], ["one", "two"])
    assert [(goal.ours, goal.peer, goal.ratio) for goal in found] == [
        (OURS, "one", 0.80),
        (OURS, "two", 0.80),
        (SHARED, "one", 0.70),
        (SHARED, "two", 0.70),
    ]


def test_without_a_named_shim_its_goals_are_absent() -> None:
    assert goals("B3", [OURS, SHARED]) == ()
    assert {goal.peer for goal in goals("B2", [OURS, SHARED, RUNC, CRUN])} == {RUNC, CRUN}


def test_goal_of_who_did_not_take_part_is_absent() -> None:
    assert goals("B2", [OURS, RUNC]) == (Goal(OURS, RUNC, "<=", 0.78),)


def test_memory_goal_is_that_of_the_measured_python() -> None:
    assert [goal.ratio for goal in goals("B6", [OURS, RUNC], python=(3, 11))] == [1.5]
    assert [goal.ratio for goal in goals("B6", [OURS, RUNC], python=(3, 12))] == [1.5]
    assert [goal.ratio for goal in goals("B6", [OURS, RUNC], python=(3, 14))] == [0.8]


def test_measure_without_goals_has_none() -> None:
    assert goals("B14-rate", [OURS]) == ()
