"""Shows results as a table for the terminal, as JSON, and as markdown with plots for docs/benchmarks.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from scripts.bench.measure import Goal, Result


def table(results: Sequence[Result]) -> str:
    """Return a table of medians, with each goal under the measure it is about."""
    return "\n".join(line for result in results for line in _lines(result))


def as_json(header: Mapping[str, Any], results: Sequence[Result]) -> str:
    """Return every sample with its circumstances, for those who want to compute something else."""
    found = []
    for result in results:
        goals = [
            goal._asdict() | {"found": result.ratio(goal), "met": result.met(goal)} for goal in result.goals
        ]
        medians = {name: result.median(name) for name in result.samples}
        found.append(result._asdict() | {"goals": goals, "medians": medians})
    return json.dumps({**header, "results": found}, indent=1) + "\n"


def from_json(text: str) -> list[Result]:
    """Return the results that as_json wrote."""
    results = [
        Result(**{name: members[name] for name in Result._fields}) for members in json.loads(text)["results"]
    ]
    return [one._replace(goals=tuple(_goal(members) for members in one.goals)) for one in results]


def _goal(members: Any) -> Goal:
    return Goal(**{name: members[name] for name in Goal._fields})


def markdown(result: Result) -> str:
    """Return a measure as a section of docs/benchmarks.md."""
    rows = [f"## {result.key}: {result.title}", ""]
    if result.note:
        rows += [result.note, ""]
    rows += [f"| contender | median, {result.unit} | middle half | best | samples |", "|---|--:|--:|--:|--:|"]
    for name, samples in result.samples.items():
        median, low, high = map(_number, (result.median(name), *_middle_half(samples)))
        best = _number(max(samples) if result.unit.endswith("/s") else min(samples))
        rows.append(f"| {name} | {median} | {low} to {high} | {best} | {len(samples)} |")
    rows.append("")
    for goal in result.goals:
        verdict = "met" if result.met(goal) else "**not met**"
        rows.append(
            f"{_named(goal)}: **{result.ratio(goal):.2f}**, wanted {goal.relation} {goal.ratio}: {verdict}.  "
        )
    return "\n".join(rows)


def write_plot(result: Result, target: Path) -> None:
    """Draw a bar for each contender's median with a whisker over its middle half, as SVG."""
    names = list(result.samples)
    top = max(max(_middle_half(samples)) for samples in result.samples.values()) or 1.0
    bar, left, width = 26, 300, 760
    scale = (width - left - 90) / top
    height = 44 + bar * len(names)
    title = escape(f"{result.key}: {result.title} ({result.unit})")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        "<style>text { font: 13px sans-serif }</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-weight="bold">{title}</text>',
    ]
    ours = {goal.ours for goal in result.goals}
    for row, name in enumerate(names):
        y = 32 + row * bar
        median = result.median(name)
        low, high = _middle_half(result.samples[name])
        colour = "#654ff0" if name in ours or name.startswith("runwasi") else "#9aa5b1"
        parts += [
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{median * scale:.1f}" height="{bar - 6}" fill="{colour}"/>',
            f'<path d="M{left + low * scale:.1f} {y + 10}H{left + high * scale:.1f}" stroke="black"/>',
            f'<text x="{left + max(high, median) * scale + 6:.1f}" y="{y + 15}">{_number(median)}</text>',
        ]
    target.write_text("\n".join([*parts, "</svg>", ""]))


def _lines(result: Result) -> Iterator[str]:
    yield f"\n{result.key}  {result.title} ({result.unit})"
    for name, samples in result.samples.items():
        low, high = _middle_half(samples)
        best = max(samples) if result.unit.endswith("/s") else min(samples)
        shown = [_number(value) for value in (result.median(name), low, high, best)]
        yield f"    {name:44} {shown[0]:>9}   {shown[1]} to {shown[2]}   best {shown[3]}"
    for goal in result.goals:
        verdict = "met" if result.met(goal) else "NOT met"
        yield f"    {_named(goal)}: {result.ratio(goal):.2f}, wanted {goal.relation} {goal.ratio}: {verdict}"


def _named(goal: Goal) -> str:
    return f"{goal.ours} / {goal.peer}" if goal.peer else goal.ours


def _middle_half(samples: Sequence[float]) -> tuple[float, float]:
    if len(samples) < 2:
        return samples[0], samples[0]
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    return quartiles[0], quartiles[2]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
