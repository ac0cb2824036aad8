"""Several processes share the faults; their counts add up."""

from __future__ import annotations

import argparse
from collections import Counter

from scripts.faults.__main__ import merged, run
from scripts.faults.injection import FAULTS, TOLERATED, Fault, Outcome

CALLS = {0: 40, 1: 30}


def asked(*, jobs: int, every: int = 1) -> argparse.Namespace:
    return argparse.Namespace(jobs=jobs, every=every, seed=7, at=None, fault=None, verbose=False)


def test_each_fault_is_in_one_share() -> None:
    shares: list[list[Fault]] = []
    for share in range(3):
        seen: list[Fault] = []

        def inject(fault: Fault, seen: list[Fault] = seen) -> Outcome:
            seen.append(fault)
            return Outcome(TOLERATED)

        run(("create", "native"), CALLS, inject, asked(jobs=3, every=2), share)
        shares.append(seen)
    whole: list[Fault] = []
    run(
        ("create", "native"),
        CALLS,
        lambda f: (whole.append(f), Outcome(TOLERATED))[1],
        asked(jobs=1, every=2),
        0,
    )  # type: ignore[func-returns-value]
    assert sorted(fault for share in shares for fault in share) == sorted(whole)
    assert 0 < len(whole) < 70 * len(FAULTS)


def test_counts_add_up_but_processes_and_calls_are_the_same_ones() -> None:
    place = "create", "native"
    one = Counter({"processes": 2, "calls": 70, TOLERATED: 5})
    other = Counter({"processes": 2, "calls": 70, TOLERATED: 6, "refused": 1})
    both = merged([{place: one}, {place: other}])
    assert both == {place: Counter({"processes": 2, "calls": 70, TOLERATED: 11, "refused": 1})}
