"""Takes the samples of a measure, in turns, so that a machine's noise affects all contenders alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

Samples = dict[str, list[float]]
Relation = Literal["<=", ">="]


class Goal(NamedTuple):
    """The wanted ratio of ours to the peer's median: at most or at least this.

    Without a peer, "", the median itself is meant.
    """

    ours: str
    peer: str
    relation: Relation
    ratio: float


class Result(NamedTuple):
    """The result of a measure: samples by contender, in the unit, and their goals."""

    key: str
    title: str
    unit: str
    samples: Samples
    goals: tuple[Goal, ...] = ()
    note: str = ""

    def median(self, contender: str) -> float:
        """Return the median of a contender's samples."""
        return statistics.median(self.samples[contender])

    def ratio(self, goal: Goal) -> float:
        """Return ours over the peer's, or ours alone where the goal names no peer."""
        if not goal.peer:
            return self.median(goal.ours)
        ours, peer = self.median(goal.ours), self.median(goal.peer)
        return ours / peer if peer else float("inf") if ours else 1.0

    def met(self, goal: Goal) -> bool:
        """Return whether the goal is reached."""
        ratio = self.ratio(goal)
        return ratio <= goal.ratio if goal.relation == "<=" else ratio >= goal.ratio


def in_turns(contenders: Mapping[str, Callable[[], None]], runs: int, *, warm: int = 2) -> Samples:
    """Return milliseconds of each contender's call, A B A B …, after some unmeasured calls of each."""

    def timed(call: Callable[[], None]) -> Callable[[], float]:
        def measure() -> float:
            started = time.monotonic()
            call()
            return (time.monotonic() - started) * 1000

        return measure

    return sample({name: timed(call) for name, call in contenders.items()}, runs, warm=warm)


def sample(contenders: Mapping[str, Callable[[], float]], runs: int, *, warm: int = 0) -> Samples:
    """Return what each contender's call returns, A B A B …, after some calls of each that do not count."""
    samples: Samples = {name: [] for name in contenders}
    for turn in range(warm + runs):
        for name, call in contenders.items():
            value = call()
            if turn >= warm:
                samples[name].append(value)
    return samples
