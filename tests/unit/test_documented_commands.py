"""Every `runwasi` command line in the documentation is one that the program accepts."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from devtools.places import ROOT
from runwasi.cli.command import check_arguments
from runwasi.cli.main import command_named
from runwasi.cli.options import parse
from runwasi.cli.settings import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("packaging/**/*.md")])
HOW_TOS = [page for page in PAGES if page.name not in {"CONTRIBUTING.md", "releasing.md"}]
_FENCED = re.compile(r"^```.*?$(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^    (?:\$ )?(?:sudo )?(?:build/bin/)?runwasi (.*)$", re.MULTILINE)
_LOOSE = re.compile(
    r"^    ((?:\$ )?(?:sudo )?(?:runwasi|oci-tar-builder|make|ctr|kubectl|docker|podman|systemctl|pip|curl) .*)$",
    re.MULTILINE,
)
_INLINE = re.compile(r"`runwasi ([^`]+)`")
_ENDS = {"|", ">", ">>", "2>", "&&", "||", ";", "<"}


def _indented(match: re.Match[str]) -> str:
    """Return a fenced block as an indented one."""
    return match[1].replace("\n", "\n    ")


def _documented(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    found = set()
    for page in PAGES:
        text = _FENCED.sub(_indented, page.read_text().replace("\\\n", " "))
        found |= {(page.name, line) for line in pattern.findall(text)}
    return sorted(found)


def _words(line: str) -> list[str]:
    """Return the words of the command itself, without comment and what a shell does with its output."""
    words = shlex.split(line, comments=True)
    end = next((number for number, word in enumerate(words) if word in _ENDS), len(words))
    return words[:end]


def test_there_are_command_lines_in_the_documentation() -> None:
    assert len(_documented(_COMMAND)) > 10
    assert len(_documented(_INLINE)) > 10


@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.name)
def test_blocks_of_commands_are_fenced_as_such(page: Path) -> None:
    """tests/integration/documentation/test_pasted_commands.py runs the fenced ones."""
    loose = _LOOSE.findall(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))
    assert loose == []


@pytest.mark.parametrize(("page", "line"), _documented(_COMMAND), ids=lambda text: text)
def test_the_program_accepts_a_documented_command_line(page: str, line: str) -> None:
    _parse(line, whole=True)


@pytest.mark.parametrize(("page", "line"), _documented(_INLINE), ids=lambda text: text)
def test_the_program_has_the_command_and_the_options_that_a_sentence_names(page: str, line: str) -> None:
    _parse(line, whole=False)


def _parse(line: str, *, whole: bool) -> None:
    given = parse(OPTIONS, _words(line), stop_at_first=True)
    if not given.arguments or given.arguments[0] == "COMMAND":
        return  # only options, such as --help
    name, *rest = given.arguments
    command = command_named(name)
    given = parse(command.options, rest, stop_at_first=command.stop)
    if whole and not given.flag("help"):
        check_arguments(command, given)
