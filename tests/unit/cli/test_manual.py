"""The man page and the completion scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runwasi.cli.completion import bash, fish
from runwasi.cli.main import command_named, main, summaries
from runwasi.cli.manual import manual

PAGE = Path(__file__).parents[3] / "docs/man/runwasi.1"


def test_the_man_page_is_that_of_the_tables() -> None:
    assert PAGE.read_text() == manual(), "python -m runwasi.cli.manual > docs/man/runwasi.1"


def test_the_man_page_has_every_command_and_only_known_requests() -> None:
    lines = manual().splitlines()
    assert {line.split()[1] for line in lines if line.startswith(".SS ")} == set(summaries())
    requests = {line.split()[0] for line in lines if line.startswith(".")}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".I", ".nf", ".fi"}
    assert "\\fB\\-\\-console\\-socket\\fR \\fISOCKET\\fR" in lines


def complete(words: str) -> list[str]:
    """Return bash's completions after these words, without any container."""
    script = (
        f"runwasi() {{ :; }}\n{bash()}\nCOMP_WORDS=({words})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        '_runwasi; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_commands_and_their_options() -> None:
    assert complete("runwasi cre") == ["create"]
    assert set(summaries()) <= set(complete("runwasi ''"))
    assert "--root" in complete("runwasi --")
    assert complete("runwasi run --det") == ["--detach"]
    assert complete("runwasi --debug exec --us") == ["--user"]
    assert "--kernel-memory" not in complete("runwasi update --")


def test_fish_knows_every_option() -> None:
    script = fish()
    for name in summaries():
        assert f"-a {name} -d " in script
        for option in command_named(name).options:
            assert option.hidden or f"-l {option.name}" in script


def test_other_shells_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 1
    assert 'no completion for "tcsh"' in capfd.readouterr().err
    assert main(["completion", "zsh"]) == 0
    assert capfd.readouterr().out.startswith("#compdef runwasi\n")
