"""Logging as containerd and Podman read it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from runwasi.cli.log_file import JSON, TEXT, LogFile

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MESSAGE = 'create "a": é\nsecond\x00line'


def test_an_error_without_a_log_file_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    LogFile().error("no such thing")
    assert capfd.readouterr().err == "runwasi: no such thing\n"


def test_json_is_written_to_standard_error_when_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    LogFile(form=JSON).error(MESSAGE)
    record = json.loads(capfd.readouterr().err)
    assert record["level"] == "error"
    assert record["msg"] == MESSAGE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["time"])


def test_a_log_file_gets_the_record_and_people_get_the_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    LogFile(str(path), JSON).error("first")
    LogFile(str(path), TEXT).error('se"cond')
    assert capfd.readouterr().err == 'runwasi: first\nrunwasi: se"cond\n'
    first, second = path.read_text().splitlines()
    assert json.loads(first)["msg"] == "first"
    assert re.fullmatch(r'time="[^"]+" level=error msg="se\\"cond"', second)


def test_a_full_disk_costs_the_log_records_and_no_command(capfd: pytest.CaptureFixture[str]) -> None:
    log = LogFile("/dev/full", debug=True)
    log.debug("a detail")
    log.warning("careful")
    log.error("no such thing")
    assert capfd.readouterr().err.splitlines() == [
        "runwasi: cannot write to the log /dev/full: No space left on device",
        "runwasi: no such thing",
    ]


def test_details_are_only_logged_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    LogFile(str(path)).debug("quiet")
    assert not path.exists()
    LogFile(str(path), debug=True).debug("loud")
    assert 'level=debug msg="loud"' in path.read_text()


def test_a_warning_does_not_look_like_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LogFile(str(tmp_path / "log")).warning("careful")
    assert "level=warning" in (tmp_path / "log").read_text()
    assert capfd.readouterr().err == ""
