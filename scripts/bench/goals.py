"""States the goals: for each measure, the ratio of ours to a peer's that we aim at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from scripts.bench.measure import Goal, Relation

OURS = "runwasi"
SHARED = "runwasi, shared mode"
RUNC = "runc's shim, runc"
CRUN = "runc's shim, crun"
RUNC_RUN, CRUN_RUN, RUNWASI_RUN = "runc run", "crun run", "runwasi run"
CLI = "runc's shim, wasmtime CLI"
CLI_COMPILED = "runc's shim, wasmtime CLI, compiled ahead"
WASMTIME_RUN = "wasmtime run"
DAEMON = "runwasi's node daemon"
FIRST, SECOND = "first start", "second start"

ANOTHER_SHIM = "*"
"""Stands for each shim that was named by --peer-shim."""

Version = tuple[int, int]


class Want(NamedTuple):
    """A goal for whoever takes part; since and before are versions of Python that it is for."""

    ours: str
    peer: str
    relation: Relation
    ratio: float
    since: Version = (3, 11)
    before: Version = (4, 0)


_WANTED: Mapping[str, tuple[Want, ...]] = {
    "B1": (Want(OURS, CRUN_RUN, "<=", 0.6), Want(OURS, ANOTHER_SHIM, "<=", 0.8)),
    "B2": (
        Want(OURS, RUNC, "<=", 0.78),
        Want(OURS, CRUN, "<=", 0.93),
        Want(OURS, ANOTHER_SHIM, "<=", 0.80),
        Want(SHARED, RUNC, "<=", 0.68),
        Want(SHARED, CRUN, "<=", 0.83),
        Want(SHARED, ANOTHER_SHIM, "<=", 0.72),
    ),
    "B2-busy": (Want(OURS, ANOTHER_SHIM, "<=", 1.0),),
    "B3": (Want(OURS, ANOTHER_SHIM, "<=", 0.80), Want(SHARED, ANOTHER_SHIM, "<=", 0.70)),
    "B4": (Want(RUNWASI_RUN, RUNC_RUN, "<=", 0.80),),
    "B4-hyperfine": (Want(RUNWASI_RUN, RUNC_RUN, "<=", 0.80),),
    "B5": (Want(SHARED, CLI, ">=", 2.8), Want(SHARED, ANOTHER_SHIM, ">=", 2.5)),
    "B5w-1": (Want(OURS, ANOTHER_SHIM, ">=", 3.5), Want(SHARED, ANOTHER_SHIM, ">=", 3.5)),
    "B5w-4": (Want(OURS, ANOTHER_SHIM, ">=", 3.5), Want(SHARED, ANOTHER_SHIM, ">=", 3.5)),
    "B6": (
        Want(OURS, RUNC, "<=", 1.5, before=(3, 13)),
        Want(OURS, RUNC, "<=", 0.8, since=(3, 13)),
    ),
    "B7": (Want(SHARED, RUNC, "<=", 0.05), Want(SHARED, ANOTHER_SHIM, "<=", 0.1)),
    "B8": (
        Want(SHARED, ANOTHER_SHIM, "<=", 1.6, before=(3, 13)),
        Want(SHARED, ANOTHER_SHIM, "<=", 0.8, since=(3, 13)),
    ),
    "B9": (Want(OURS, RUNC, ">=", 2.0), Want(SHARED, RUNC, ">=", 2.0)),
    "B10": (Want(RUNWASI_RUN, WASMTIME_RUN, "<=", 1.02),),
    "B11": (Want(SECOND, FIRST, "<=", 0.05),),
    "B12": (Want(OURS, "", "<=", 0), Want(DAEMON, "", "<=", 0)),
    "B16": (Want(DAEMON, "", "<=", 20),),
}


def goals(
    key: str, contenders: Iterable[str], others: Iterable[str] = (), python: Version = (3, 11)
) -> tuple[Goal, ...]:
    """Return the goals of a measure between those contenders that took part; others are the named shims."""
    there = set(contenders)
    found = []
    for want in _WANTED.get(key, ()):
        if not want.since <= python < want.before:
            continue
        peers = list(others) if want.peer == ANOTHER_SHIM else [want.peer]
        found += [
            Goal(want.ours, peer, want.relation, want.ratio)
            for peer in peers
            if want.ours in there and (not peer or peer in there)
        ]
    return tuple(found)
