"""top: shows all containers of a node with their usage, live on a terminal."""

from __future__ import annotations

import os
import select
import time

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.events_command import duration
from runwasi.cli.node_containers import NodeSampler, Sample
from runwasi.cli.options import FLAG, Option, UsageError
from runwasi.oci.encode import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from rich.table import Table

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings

_SORTS: dict[str, Callable[[Sample], tuple[float, str]]] = {
    "cpu": lambda sample: (-(sample.cpu or 0), sample.id),
    "memory": lambda sample: (-sample.memory, sample.id),
    "pids": lambda sample: (-sample.pids, sample.id),
    "age": lambda sample: (0, sample.created),
    "name": lambda sample: (0, f"{sample.pod} {sample.id}"),
}
_KEYS = {name[0]: name for name in _SORTS}
_FIRST = 0.5  # seconds between the two samples that a share of CPU needs


def _top(given: Given, settings: Settings) -> int:
    form, order = given.text("format"), given.text("sort")
    if form not in {"table", "json"}:
        raise UsageError(f"invalid format option: {form}: expected table or json")
    if order not in _SORTS:
        raise UsageError(f'invalid value "{order}" for --sort: one of {", ".join(_SORTS)}')
    interval = duration(given.text("interval"))
    node = NodeSampler(settings)
    node.sample()
    if given.flag("once") or form == "json" or not os.isatty(1):
        time.sleep(min(interval, _FIRST))
        _print_once(node, order, form)
    else:
        _Screen(node, order, interval).show()
    return 0


def _print_once(node: NodeSampler, order: str, form: str) -> None:
    samples = sorted(node.sample(), key=_SORTS[order])
    if form == "json":
        output.write(dumps([_record(sample) for sample in samples], "  ") + "\n")
    elif os.isatty(1):
        from rich.console import Console  # late: rich, 100 ms, for people only

        Console().print(_table(samples))
    else:
        output.write(_plain([_TITLES, *map(_cells, samples)]))
    if node.unreadable:
        output.write_error(_unreadable(node))


def _record(sample: Sample) -> dict[str, object]:
    return {
        "namespace": sample.namespace,
        "pod": sample.pod,
        "id": sample.id,
        "kind": sample.kind,
        "engine": sample.engine,
        "status": sample.status,
        "cpuPercent": None if sample.cpu is None else round(sample.cpu, 2),
        "memoryBytes": sample.memory,
        "memoryLimitBytes": sample.limit,
        "pids": sample.pids,
        "httpResponses": sample.served and dict(zip(_SERVED, sample.served, strict=True)),
        "created": sample.created,
        "command": sample.command,
    }


_TITLES = (
    "NAMESPACE", "POD", "CONTAINER", "KIND", "ENGINE", "STATUS", "CPU%", "MEMORY", "LIMIT", "PIDS", "HTTP", "AGE",
    "COMMAND",
)  # fmt: skip
_RIGHT = {"CPU%", "MEMORY", "LIMIT", "PIDS", "HTTP", "AGE"}
_CUT = {"POD", "CONTAINER", "COMMAND"}
"""Columns that a narrow terminal cuts. rich reduces columns that may wrap first, so they may; their cells may not."""

_SERVED = ("failed", "1xx", "2xx", "3xx", "4xx", "5xx")
_SHORT_ID = 12
_HEX_ID = 64


def _cells(sample: Sample) -> tuple[str, ...]:
    cells = (
        sample.namespace,
        sample.pod,
        sample.id[:_SHORT_ID] if len(sample.id) == _HEX_ID else sample.id,
        sample.kind,
        sample.engine,
        sample.status,
        "-" if sample.cpu is None else f"{sample.cpu:.1f}",
        _size(sample.memory),
        "-" if sample.limit is None else _size(sample.limit),
        str(sample.pids),
        "-" if sample.served is None else str(sum(sample.served[1:])),
        _age(sample.created),
        sample.command,
    )
    return tuple(map(_on_one_line, cells))


def _on_one_line(text: str) -> str:
    """Escape control characters: a pod's author chooses its command, and must not write on the reader's terminal."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def _size(size: float) -> str:
    units = ["TiB", "GiB", "MiB", "KiB", "B"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{size:.{0 if units[-1] == 'B' else 1}f} {units[-1]}"


def _age(created: str) -> str:
    from calendar import timegm  # late: only for tables

    seconds = int(time.time() - timegm(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S")))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"


def _plain(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if title in _RIGHT else cell.ljust(width)
            for title, cell, width in zip(_TITLES, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _table(samples: list[Sample]) -> Table:
    from rich.table import Table  # late: as above
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in _TITLES:
        justify: Literal["left", "right"] = "right" if title in _RIGHT else "left"
        table.add_column(title, justify=justify, no_wrap=title not in _CUT)
    for sample in samples:
        style = {"wasm": "magenta", "native": "cyan"}.get(sample.kind, "dim")
        table.add_row(
            *(
                Text(cell, style=style if title == "KIND" else "", no_wrap=True, overflow="ellipsis")
                for title, cell in zip(_TITLES, _cells(sample), strict=True)
            )
        )
    return table


def _unreadable(node: NodeSampler) -> str:
    return f"{node.unreadable} more could not be read: they may be another user's (try as root)"


class _Screen:
    """The live table on a terminal: keys choose the order, q ends it."""

    def __init__(self, node: NodeSampler, order: str, interval: float) -> None:
        self._node = node
        self._order = order
        self._interval = interval

    def show(self) -> None:
        """Show the table until q is pressed."""
        import termios  # late: only on a terminal
        import tty

        from rich.live import Live

        keyboard = 0 if os.isatty(0) else None
        saved = termios.tcgetattr(0) if keyboard is not None else None
        try:
            if keyboard is not None:
                tty.setcbreak(0)
            with Live(screen=True, auto_refresh=False) as live:
                wait = _FIRST
                while True:
                    if self._key(wait) == "q":
                        return
                    live.update(self._frame(), refresh=True)
                    wait = self._interval
        finally:
            if saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)

    def _key(self, seconds: float) -> str:
        """Wait for a key, at most so long; return it, and sort by what it says."""
        if not os.isatty(0):
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([0], [], [], seconds)
        key = os.read(0, 1).decode(errors="replace") if ready else ""
        self._order = _KEYS.get(key, self._order)
        return key

    def _frame(self) -> Table:
        samples = sorted(self._node.sample(), key=_SORTS[self._order])
        table = _table(samples)
        kinds = [sample.kind for sample in samples]
        count = f"{len(samples)} containers: {kinds.count('wasm')} wasm, {kinds.count('native')} native"
        more = f" · {_unreadable(self._node)}" if self._node.unreadable else ""
        table.title = f"{count} · by {self._order}{more}"
        table.title_justify = "left"
        table.caption = "sort: c cpu  m memory  p pids  a age  n name   q quit"
        table.caption_justify = "left"
        return table


COMMANDS = {
    "top": Command(
        "top",
        "show all containers of this node with their usage",
        _top,
        description="""\
Shows the containers of the command line and those of containerd's shims, in all
namespaces; --root restricts it to one state root. On a terminal it stays and
updates itself: c, m, p, a and n choose the order, q ends it. Otherwise it
prints once.

CPU% is the share of one CPU since the sample before. MEMORY is what the
container's cgroup is charged for, page cache included. HTTP is how many
requests a component has answered.""",
        options=(
            Option("once", "print once and end", kind=FLAG),
            Option("format", "table or json", short="f", default="table", value="FORM"),
            Option("sort", "cpu, memory, pids, age or name", default="cpu", value="KEY"),
            Option("interval", "time between samples", default="2s", value="TIME"),
        ),
    )
}
