"""Medians, ratios, and turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.bench.measure import Goal, Result, Samples, in_turns, sample

SAMPLES: Samples = {"ours": [3.0, 1.0, 2.0, 100.0], "peer": [5.0, 4.0, 6.0], "still": [0.0, 0.0]}


def result(*goals: Goal) -> Result:
    return Result("B0", "a title", "ms", SAMPLES, goals)


def test_one_outlier_does_not_move_the_median() -> None:
    assert result().median("ours") == 2.5


def test_ratio_is_ours_over_the_peers() -> None:
    assert result().ratio(Goal("ours", "peer", "<=", 1)) == 0.5


def test_without_a_peer_the_median_itself_is_held_against_the_goal() -> None:
    assert result().ratio(Goal("ours", "", "<=", 2)) == 2.5
    assert result().met(Goal("still", "", "<=", 0))


def test_peer_that_shows_nothing_is_not_a_division_by_zero() -> None:
    assert result().ratio(Goal("ours", "still", "<=", 1)) == float("inf")
    assert result().ratio(Goal("still", "still", "<=", 1)) == 1


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("ours", "peer", "<=", 0.5), True),
        (Goal("ours", "peer", "<=", 0.49), False),
        (Goal("ours", "peer", ">=", 0.5), True),
        (Goal("ours", "peer", ">=", 0.51), False),
    ],
)
def test_goal_is_at_most_or_at_least(goal: Goal, met: bool) -> None:
    assert result().met(goal) is met


def test_contenders_take_turns_and_the_first_turns_do_not_count() -> None:
    order: list[str] = []

    def call(name: str) -> Callable[[], float]:
        def record() -> float:
            order.append(name)
            return float(len(order))

        return record

    samples = sample({"a": call("a"), "b": call("b")}, 2, warm=1)
    assert order == ["a", "b"] * 3
    assert samples == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_calls_are_timed_for_each_contender() -> None:
    samples = in_turns({"a": lambda: None, "b": lambda: None}, 3)
    assert [len(taken) for taken in samples.values()] == [3, 3]
