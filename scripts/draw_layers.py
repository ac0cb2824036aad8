"""Draw docs/pictures/layers.svg: the packages by their layers, and what each imports from.

python -m scripts.draw_layers            writes the picture
python -m scripts.draw_layers --check    fails if the picture is not up to date with the sources
"""

from __future__ import annotations

import sys
from html import escape

from devtools.layers import LAYERS, uses
from devtools.places import ROOT

PICTURE = ROOT / "docs" / "pictures" / "layers.svg"

_SAYS = {
    "cli": "the command line",
    "shim": "containerd's shim and node daemon",
    "executor": "a container's life",
    "deployment": "containerd's configuration",
    "images": "archives with wasm in them",
    "containerd": "what we ask of containerd",
    "engines": "wasm engines, module cache",
    "wasi": "our WASI 0.2",
    "oci": "the specifications as data",
    "linux": "the kernel, a file a facility",
    "wire": "protocols as bytes",
    "startup": "start-up tricks",
    "node": "the node's configuration",
}
_ROWS = ("front ends translate", "what we do", "what we know", "what all stands on")
_WIDTH, _BOX_WIDTH, _BOX_HEIGHT, _ROW_HEIGHT, _LEFT = 1120, 220, 58, 150, 170
_STYLE = """
text { font-family: sans-serif; font-size: 14px; fill: #1f2933; }
.row { font-size: 12px; fill: #616e7c; }
.name { font-weight: bold; }
.says { font-size: 11px; fill: #52606d; }
rect { fill: #f0f4f8; stroke: #486581; }
line { stroke: #829ab1; }
"""


def main() -> int:
    text = drawn()
    if "--check" in sys.argv[1:]:
        if not PICTURE.exists() or PICTURE.read_text() != text:
            print(
                f"{PICTURE.relative_to(ROOT)} is not that of the sources: run python -m scripts.draw_layers"
            )
            return 1
        return 0
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(text)
    return 0


def drawn() -> str:
    """Return the picture."""
    places = _places()
    height = len(LAYERS) * _ROW_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>The layers of runwasi: a package imports only from the rows below its own</title>",
        f"<style>{_STYLE}</style>",
        "<defs>",
        '<marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z" fill="#829ab1"/>',
        "</marker></defs>",
    ]
    lines += [_arrow(places[user], places[used]) for user, used in sorted(uses())]
    for depth, row in enumerate(LAYERS):
        lines.append(f'<text class="row" x="10" y="{_top(depth) + _BOX_HEIGHT // 2}">{_ROWS[depth]}</text>')
        lines += [line for package in row for line in _box(package, *places[package])]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _places() -> dict[str, tuple[int, int]]:
    """Return the upper left corner of each package's box."""
    places = {}
    for depth, row in enumerate(LAYERS):
        room = (_WIDTH - _LEFT) // len(row)
        for column, package in enumerate(row):
            places[package] = (_LEFT + column * room + (room - _BOX_WIDTH) // 2, _top(depth))
    return places


def _top(depth: int) -> int:
    return depth * _ROW_HEIGHT + (_ROW_HEIGHT - _BOX_HEIGHT) // 2


def _box(package: str, x: int, y: int) -> list[str]:
    middle = x + _BOX_WIDTH // 2
    return [
        f'<rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>',
        f'<text class="name" x="{middle}" y="{y + 24}" text-anchor="middle">{package}</text>',
        f'<text class="says" x="{middle}" y="{y + 43}" text-anchor="middle">{escape(_SAYS[package])}</text>',
    ]


def _arrow(user: tuple[int, int], used: tuple[int, int]) -> str:
    """Return a line from a package to one below or beside it."""
    if user[1] == used[1]:
        left, right = sorted((user[0], used[0]))
        y = user[1] + _BOX_HEIGHT // 2 + (8 if user[0] < used[0] else -8)
        ends = (left + _BOX_WIDTH, y, right, y) if user[0] < used[0] else (right, y, left + _BOX_WIDTH, y)
    else:
        shift = (used[0] - user[0]) // 12
        ends = (
            user[0] + _BOX_WIDTH // 2 + shift,
            user[1] + _BOX_HEIGHT,
            used[0] + _BOX_WIDTH // 2 - shift,
            used[1],
        )
    x1, y1, x2, y2 = ends
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" marker-end="url(#end)"/>'


if __name__ == "__main__":
    sys.exit(main())
