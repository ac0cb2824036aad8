"""The results of faults go into the table of the page, and nothing else of it changes."""

from __future__ import annotations

from collections import Counter

from devtools.places import ROOT
from scripts.faults.page import with_results

PAGE = (ROOT / "docs/faults.md").read_text()


def test_without_results_the_page_stays_as_it_is() -> None:
    assert with_results(PAGE, {}, 1) == PAGE


def test_a_result_replaces_its_row_and_a_new_one_is_added() -> None:
    counts = Counter({"processes": 2, "calls": 1234, "refused": 5, "WRONG": 1})
    page = with_results(PAGE, {("create", "native"): counts, ("new", "native"): counts}, 7)
    assert [line for line in PAGE.splitlines() if not line.startswith("| create | native |")] == [
        line for line in page.splitlines() if not line.startswith(("| create | native |", "| new |"))
    ]
    row = "| native | 7 | 2 | 1,234 | 5 | 0 | 0 | 0 | 0 | 0 | 0 | 1 |"
    assert {f"| create {row}", f"| new {row}"} <= set(page.splitlines())
