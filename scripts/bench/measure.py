"""A measure, its samples, and how they are taken: in turns, so that a machine's moods meet all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

Samples = dict[str, list[float]]


class Goal(NamedTuple):
    """The wanted ratio of ours to the peer's median: at most or at least this."""

    ours: str
    peer: str
    relation: Literal["<=", ">="]
    ratio: float


class Result(NamedTuple):
    """What was measured: samples by contender, in the unit, and the goals that concern them."""

    key: str
    title: str
    unit: str
    samples: Samples
    goals: tuple[Goal, ...] = ()
    note: str = ""

    def median(self, contender: str) -> float:
        """The median of a contender's samples."""
        return statistics.median(self.samples[contender])

    def ratio(self, goal: Goal) -> float:
        """Ours over the peer's."""
        return self.median(goal.ours) / self.median(goal.peer)

    def met(self, goal: Goal) -> bool:
        """Whether the goal is reached."""
        ratio = self.ratio(goal)
        return ratio <= goal.ratio if goal.relation == "<=" else ratio >= goal.ratio


def in_turns(contenders: Mapping[str, Callable[[], None]], runs: int, *, warm: int = 2) -> Samples:
    """Milliseconds of each contender's call, A B A B …, after some unmeasured calls of each."""
    samples: Samples = {name: [] for name in contenders}
    for turn in range(warm + runs):
        for name, call in contenders.items():
            started = time.monotonic()
            call()
            took = time.monotonic() - started
            if turn >= warm:
                samples[name].append(took * 1000)
    return samples
