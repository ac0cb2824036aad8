"""Lists of CPUs and nodes, and the calls they go into."""

from __future__ import annotations

import os

import pytest

from runwasi.linux import scheduling
from tests.support.in_namespaces import run_in


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", {0}), ("0-3,7", {0, 1, 2, 3, 7}), ("2-2, 4", {2, 4}), ("1000", {1000})],
)
def test_a_list_names_numbers_and_ranges(text: str, numbers: set[int]) -> None:
    assert scheduling.parse_list(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "0x1", "99999999", "0-99999999"])
def test_a_malformed_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"list|range"):
        scheduling.parse_list(text)


def test_affinity_is_taken_from_a_list() -> None:
    def confined() -> set[int]:
        scheduling.set_affinity("0")
        return os.sched_getaffinity(0)

    assert run_in(0, confined) == {0}
    with pytest.raises(OSError, match="sched_setaffinity 4095"):
        run_in(0, lambda: scheduling.set_affinity("4095"))


def test_cpu_policy_nice_and_flags_are_set() -> None:
    def scheduled() -> tuple[int, int]:
        scheduling.set_scheduler("SCHED_BATCH", nice=5, flags=["SCHED_FLAG_RESET_ON_FORK"])
        return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)

    assert run_in(0, scheduled) == (os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, 5)


def test_a_policy_the_kernel_lacks_is_named() -> None:
    with pytest.raises(OSError, match="sched_setattr SCHED_ISO"):
        run_in(0, lambda: scheduling.set_scheduler("SCHED_ISO"))


def test_io_priority_memory_policy_and_personality_are_accepted() -> None:
    def settled() -> str:
        scheduling.set_io_priority("IOPRIO_CLASS_BE", 6)
        scheduling.set_memory_policy("MPOL_BIND", "0", ["MPOL_F_STATIC_NODES"])
        scheduling.set_memory_policy("MPOL_DEFAULT", "")
        scheduling.set_personality("LINUX32")
        return os.uname().machine

    assert run_in(0, settled) in {"i686", "armv8l"}


def test_a_node_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="set_mempolicy MPOL_BIND 63"):
        run_in(0, lambda: scheduling.set_memory_policy("MPOL_BIND", "63"))
