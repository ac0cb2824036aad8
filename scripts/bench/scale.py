"""Sets how much is measured, for the page and for a developer's quick turn."""

from __future__ import annotations

from typing import NamedTuple


class Scale(NamedTuple):
    """Numbers of samples, containers, seconds and MiB."""

    runs: int  # samples of each contender, unless something below says otherwise
    tasks: int  # of B5 and B5w in each sample
    few: int  # pods whose memory is looked at
    many: int  # pods of shared mode at once
    idle_seconds: int
    output_mib: int
    slow_runs: int  # samples of what takes seconds
    crowds: tuple[int, ...]
    large_crowds: int  # samples of crowds above 100
    http_seconds: int
    http_runs: int


FULL = Scale(
    runs=20,
    tasks=50,
    few=20,
    many=100,
    idle_seconds=60,
    output_mib=1024,
    slow_runs=20,
    crowds=(1, 10, 100, 500),
    large_crowds=5,
    http_seconds=2,
    http_runs=20,
)

QUICK = Scale(
    runs=4,
    tasks=8,
    few=3,
    many=20,
    idle_seconds=10,
    output_mib=256,
    slow_runs=1,
    crowds=(1, 10),
    large_crowds=1,
    http_seconds=1,
    http_runs=1,
)


def scaled(quick: bool, runs: int | None) -> Scale:
    """Return the scale that the options ask for; runs replaces the number of samples everywhere."""
    scale = QUICK if quick else FULL
    return scale if runs is None else scale._replace(runs=runs, slow_runs=runs, http_runs=runs)
