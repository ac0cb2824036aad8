"""Puts results into the table of docs/faults.md; what is written around it stays, and so do others' rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from scripts.faults.injection import (
    ENDED_PROGRAM,
    KILLED,
    MISSED,
    PANICKED,
    REFUSED,
    SKIPPED,
    TOLERATED,
    WRONG,
)

_COUNTED = ("processes", "calls", REFUSED, PANICKED, TOLERATED, KILLED, ENDED_PROGRAM, SKIPPED, MISSED, WRONG)
_HEAD = "| command | container | one in |"


def with_results(page: str, table: Mapping[tuple[str, str], Counter[str]], every: int) -> str:
    """Return the page with a row for each result, of a run that injected one fault in every so many."""
    lines = page.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(_HEAD))
    end = next((n for n in range(begin, len(lines)) if not lines[n].startswith("|")), len(lines))
    rows = {_place(line): line for line in lines[begin + 2 : end]}
    for (command, container), counts in table.items():
        numbers = (every, *(counts[name] for name in _COUNTED))
        rows[command, container] = (
            f"| {command} | {container} | " + " | ".join(f"{n:,}" for n in numbers) + " |"
        )
    names = " | ".join(_COUNTED).replace(WRONG, "faults")
    head = [f"{_HEAD} {names} |", "|---|---|" + "--:|" * (1 + len(_COUNTED))]
    return "\n".join([*lines[:begin], *head, *rows.values(), *lines[end:]]) + "\n"


def _place(row: str) -> tuple[str, str]:
    _, command, container, *_ = (cell.strip() for cell in row.split("|"))
    return command, container
