"""Help, versions and mistakes on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runwasi.cli import main as cli

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = sorted(cli.summaries())


def test_without_a_command_every_command_is_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capfd.readouterr().out
    assert all(f"   {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_within_the_width_of_a_page(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([name, "--help"]) == 0
    text = capfd.readouterr().out
    assert text.startswith(f"NAME:\n   runwasi {name} - ")
    assert max(map(len, text.splitlines())) <= 110
    assert cli.main(["help", name]) == 0
    assert capfd.readouterr().out == text


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_command_is_defined_twice(name: str) -> None:
    command = cli.command_named(name)
    names = [word for option in command.options for word in (option.name, option.short) if word]
    assert len(names) == len(set(names))
    assert not {"help", "h"} & set(names)


def test_the_version_comes_in_the_lines_callers_look_for(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("runwasi version ")
    assert lines[1] == "spec: 1.3.0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "runwasi: No help topic for 'fly': no such command (see `runwasi --help`)\n"),
        (["--nope"], "runwasi: flag provided but not defined: -nope (see `runwasi --help`)\n"),
        (
            ["state", "--nope"],
            "runwasi: flag provided but not defined: -nope (see `runwasi state --help`)\n",
        ),
        (["state"], 'runwasi: "state" requires exactly 1 argument(s) (see `runwasi state --help`)\n'),
        (
            ["--log-format", "xml", "list"],
            "runwasi: invalid log-format: xml: expected text or json (see `runwasi --help`)\n",
        ),
        (
            ["--root", "/", "list"],
            "runwasi: Option --root argument should not be set to / (see `runwasi --help`)\n",
        ),
    ],
)
def test_mistakes_are_one_line_and_status_1(
    words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 1
    assert capfd.readouterr().err == message


def test_an_error_is_logged_in_json_where_the_caller_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.json"
    words = ["--root", str(tmp_path / "state"), "--log", str(log), "--log-format", "json", "state", "nobody"]
    assert cli.main(words) == 1
    assert capfd.readouterr().err == "runwasi: state nobody: container does not exist: nobody\n"
    record = json.loads(log.read_text())
    assert (record["level"], record["msg"]) == ("error", "state nobody: container does not exist: nobody")


def test_the_features_document_is_the_specifications(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["ociVersionMax"] == "1.3.0"
    assert document["hooks"][:2] == ["prestart", "createRuntime"]
    assert {"ro", "rro", "ridmap", "tmpcopyup"} <= set(document["mountOptions"])
    assert len(document["linux"]["namespaces"]) == 8
    assert len(document["linux"]["capabilities"]) == 41
    assert "SECCOMP_FILTER_FLAG_LOG" in document["linux"]["seccomp"]["supportedFlags"]
    assert "SCMP_ARCH_X86_64" in document["linux"]["seccomp"]["archs"]


@pytest.mark.parametrize("command", ["create", "run", "start", "kill", "delete", "state"])
def test_the_commands_of_a_start_import_nothing_slow(command: str) -> None:
    imported = f"from runwasi.cli.main import command_named; command_named('{command}')"
    program = f"import sys; {imported}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    slow = {
        "re",
        "json",
        "typing",
        "enum",
        "dataclasses",
        "pathlib",
        "argparse",
        "inspect",
        "logging",
        "signal",
    }
    assert not slow & set(run.stdout.split())
