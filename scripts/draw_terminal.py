"""Draws what `runwasi top`, `timing` and `doctor` print on a terminal, for the documentation. Needs root.

    python -m scripts.draw_terminal

Each picture is of the real program on a real pseudo-terminal; only the timing of this machine is in it.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from devtools.bundle import make_bundle
from devtools.places import BIN, ROOT, WASI_DEMO_APP

PICTURES = ROOT / "docs/pictures"
_WIDTH = 116
_FONTS = re.compile(
    r"@font-face \{.*?\}|<!-- Generated with .*?-->", re.DOTALL
)  # readers fetch nothing from others

_WITHOUT_SHIMS = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run/containerd && exec "$@"', "sh")
"""Hides what other containers of this machine have left."""


def main() -> int:
    if os.geteuid() != 0:
        print("pictures of containers need root", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        _draw_containers(Path(folder))
    draw("doctor", "runwasi", "doctor", inside=_WITHOUT_SHIMS)
    return 0


def _draw_containers(folder: Path) -> None:
    root = ("--root", str(folder / "state"))
    module = {"/app.wasm": WASI_DEMO_APP.read_bytes()}
    wasm = make_bundle(folder / "wasm", ["/app.wasm", "daemon"], files=module)
    native = make_bundle(folder / "native", ["sh", "-c", "while :; do :; done"])
    for name, bundle in (("song", wasm), ("busy", native)):
        _run(*root, "run", "--detach", "--timing", "--bundle", str(bundle.path), name)
    try:
        draw("top", "runwasi", *root, "top", "--once", shown="runwasi top --once")
        draw("timing", "runwasi", *root, "timing", "song", shown="runwasi timing song")
    finally:
        for name in ("song", "busy"):
            _run(*root, "delete", "--force", name)


def _run(*words: str) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run([BIN / "runwasi", *words], check=True, stdin=quiet, stdout=quiet, stderr=quiet)


def draw(name: str, program: str, *words: str, shown: str = "", inside: Sequence[str] = ()) -> None:
    """Run a program on a terminal, perhaps inside another, and draw its output."""
    command = shown or " ".join((program, *words))
    console = Console(width=_WIDTH, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(_on_terminal([*inside, str(BIN / program), *words])))
    svg = console.export_svg(title="runwasi", unique_id=name)
    (PICTURES / f"{name}.svg").write_text(_FONTS.sub("", svg).replace("Fira Code,", ""))


def _on_terminal(command: Sequence[str]) -> str:
    """Return what a command writes to a terminal of its own."""
    master, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(_WIDTH), "LINES": "60"}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    written = bytearray()
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # EIO: the other side is closed
            break
        written += chunk
    process.wait()
    os.close(master)
    return written.decode().replace("\r\n", "\n")


if __name__ == "__main__":
    sys.exit(main())
