"""Results as a table for the terminal, as JSON, and as markdown with plots for docs/benchmarks.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from scripts.bench.measure import Goal, Result


def table(results: Sequence[Result]) -> str:
    """A table of medians, with each goal under the measure it is about."""
    return "\n".join(line for result in results for line in _lines(result))


def as_json(results: Sequence[Result]) -> str:
    """Every sample, for those who want to compute something else."""
    return json.dumps([result._asdict() for result in results], indent=1)


def from_json(text: str) -> list[Result]:
    """What as_json wrote."""
    results = [Result(**members) for members in json.loads(text)]
    return [one._replace(goals=tuple(Goal(*goal) for goal in one.goals)) for one in results]


def markdown(result: Result) -> str:
    """A measure as a section of docs/benchmarks.md."""
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
        rows.append(
            f"{goal.ours} / {goal.peer}: **{result.ratio(goal):.2f}**, wanted {goal.relation} {goal.ratio}: "
            f"{'met' if result.met(goal) else '**not met**'}.  "
        )
    return "\n".join(rows)


def write_plot(result: Result, target: Path) -> None:
    """A bar for each contender's median with a whisker over its middle half, as SVG."""
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
        colour = "#654ff0" if name in ours else "#9aa5b1"
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
        ratio = f"{goal.ours} / {goal.peer}: {result.ratio(goal):.2f}"
        yield f"    {ratio}, wanted {goal.relation} {goal.ratio}: {verdict}"


def _middle_half(samples: Sequence[float]) -> tuple[float, float]:
    if len(samples) < 2:
        return samples[0], samples[0]
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    return quartiles[0], quartiles[2]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
