"""Several processes share the faults; their counts add up."""

from __future__ import annotations

import argparse
from collections import Counter

from scripts.faults.__main__ import merged, run
from scripts.faults.injection import FAULTS, TOLERATED, Fault, Outcome

CALLS = {0: 40, 1: 30}


def asked(*, jobs: int, every: int) -> argparse.Namespace:
    return argparse.Namespace(jobs=jobs, every=every, seed=7, at=None, fault=None, verbose=False)


def injected(share: int, *, jobs: int) -> list[Fault]:
    seen: list[Fault] = []

    def inject(fault: Fault) -> Outcome:
        seen.append(fault)
        return Outcome(TOLERATED)

    run(("create", "native"), CALLS, inject, asked(jobs=jobs, every=2), share)
    return seen


def test_each_fault_is_in_one_share() -> None:
    shares = [injected(share, jobs=3) for share in range(3)]
    whole = injected(0, jobs=1)
    assert sorted(fault for share in shares for fault in share) == sorted(whole)
    assert 0 < len(whole) < 70 * len(FAULTS)


def test_counts_add_up_but_processes_and_calls_are_the_same_ones() -> None:
    place = "create", "native"
    one = Counter({"processes": 2, "calls": 70, TOLERATED: 5})
    other = Counter({"processes": 2, "calls": 70, TOLERATED: 6, "refused": 1})
    both = merged([{place: one}, {place: other}])
    assert both == {place: Counter({"processes": 2, "calls": 70, TOLERATED: 11, "refused": 1})}
