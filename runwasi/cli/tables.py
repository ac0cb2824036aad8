"""Prints tables for a person at a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLES = {"running": "green", "created": "cyan", "paused": "yellow", "stopped": "red"}


def print_rich(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, of which the first has the titles, with container statuses in colour."""
    titles, *lines = rows
    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for line in lines:
        table.add_row(*(f"[{_STYLES[cell]}]{cell}[/]" if cell in _STYLES else cell for cell in line))
    Console().print(table)
