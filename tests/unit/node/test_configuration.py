from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from devtools.places import ROOT
from runwasi.node import configuration
from runwasi.node.configuration import OVERRIDE, Configuration, ConfigurationError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv(OVERRIDE, str(path))
    return path


def test_without_a_file_nothing_unsafe_is_allowed(file: Path) -> None:
    assert configuration.path() == str(file)
    assert configuration.load().unsafe_annotations == frozenset()


def test_it_is_in_etc_unless_the_runtimes_own_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(OVERRIDE, raising=False)
    assert configuration.path() == "/etc/runwasi/config.toml"


def test_annotations_are_allowed_by_name(file: Path) -> None:
    file.write_text('# the operator\'s\nunsafe_annotations = ["io.runwasi.unsafe.seccomp"]\n')
    assert configuration.load().unsafe_annotations == {"io.runwasi.unsafe.seccomp"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "unsafe_annotation = []",
            "unsafe_annotation: unknown key; the keys are leave_daemon, unsafe_annotations",
        ),
        ("[unsafe]\nannotations = []", "unsafe: unknown key"),
        ("leave_daemon = 1", "leave_daemon: must be true or false"),
        ('unsafe_annotations = "io.runwasi.unsafe.seccomp"', "unsafe_annotations: must be a list of strings"),
        ("unsafe_annotations = [1]", "unsafe_annotations: must be a list of strings"),
        ("unsafe_annotations = [", "at end of document"),
    ],
)
def test_invalid_content_is_refused_with_the_file_and_the_key(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=f"^{re.escape(str(file))}: .*{re.escape(why)}"):
        configuration.load()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_to_is_not_believed(file: Path, mode: int) -> None:
    file.touch()
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match="not trusted: users other than root may write to it"):
        configuration.load()


def test_a_file_of_another_user_is_not_believed(file: Path) -> None:
    file.touch(mode=0o644)
    os.chown(file, 1000, 0)
    with pytest.raises(ConfigurationError, match="not trusted"):
        configuration.load()


def test_a_pipe_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        configuration.load()


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b'unsafe_annotations = ["\xff"]')
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 23"):
        configuration.load()


def test_every_key_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    documented = re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)
    assert documented == list(Configuration.__slots__)
