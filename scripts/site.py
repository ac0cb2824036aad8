"""Builds the documentation site from the pages of the repository: `make site`, or `make lint` to check it only.

The pages are written to be read on a code host. They are staged in the same folders below build/site/pages; a link to
a folder becomes a link to its README. Three pages are generated: the commands, from their definitions; the engine
API, from its docstrings; and the list of decisions. A link that leads nowhere fails the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from devtools.places import ROOT
from runwasi.cli.help import command_help, program_help
from runwasi.cli.main import command_named, summaries
from runwasi.cli.settings import OPTIONS

PAGES = ROOT / "build/site/pages"
HTML = ROOT / "build/site/html"
_LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?\)")
_PICTURES = (".svg", ".png")


def main() -> int:
    stage()
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(HTML)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement of the theme
    return subprocess.run(command, cwd=ROOT, env=quiet, check=False).returncode


def stage() -> None:
    """Make the folder of pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for page in sources():
        target = PAGES / page.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.suffix in _PICTURES:
            shutil.copyfile(page, target)
        else:
            target.write_text(staged(page))
    (PAGES / "docs/decisions/README.md").write_text(decisions())
    (PAGES / "docs/commands.md").write_text(commands())
    (PAGES / "docs/engine-api.md").write_text(engine_api())


def sources() -> list[Path]:
    """Return the files that the site has as they are, or nearly."""
    return [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docs/**/*.svg"),
        *ROOT.glob("packaging/**/*.md"),
        *ROOT.glob("examples/**/README.md"),
    ]


def staged(page: Path) -> str:
    """Return a page's text with its links to folders led to their README."""

    def led(match: re.Match[str]) -> str:
        start, path, anchor = match.groups()
        if (page.parent / path).is_dir():
            path = f"{path.rstrip('/')}/README.md"
        return f"{start}{path}{anchor or ''})"

    return _LINK.sub(led, page.read_text())


def decisions() -> str:
    """Return the list of decisions."""
    lines = ["# Decisions", "", "Why things are as they are, newest first.", ""]
    for page in sorted(ROOT.glob("docs/decisions/[0-9]*.md"), reverse=True):
        title = page.read_text().partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({page.name})")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Return the reference of the command line."""
    parts = ["# Commands", "", _code(program_help(OPTIONS, summaries()))]
    for name in summaries():
        parts += [f"## {name}", "", _code(command_help(command_named(name)))]
    return "\n".join(parts)


def _code(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def engine_api() -> str:
    """Return the reference of what engine authors use."""
    parts = ["# Engine API", "", "[The tutorial](engine-authors.md) builds an engine with it.", ""]
    parts += [f"::: {module}\n" for module in ("runwasi.engines.engine", "runwasi.engines.registry")]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
