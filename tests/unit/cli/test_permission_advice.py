"""Somebody who may not look at the state of containers is told who may."""

from __future__ import annotations

import os

import pytest

from runwasi.cli.main import main
from runwasi.executor.lifecycle.container import Container

_ADVICE = "(try as root)"


@pytest.mark.parametrize(
    ("user", "path", "is_advised"),
    [
        (1000, "/run/runwasi/demo/state.json", True),
        (0, "/run/runwasi/demo/state.json", False),
        (1000, "/home/user/state/demo/state.json", False),
    ],
    ids=["another user's state", "root", "a root of one's own"],
)
def test_who_may_not_read_the_state_is_told_who_may(
    user: int,
    path: str,
    is_advised: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def load(*_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(Container, "load", load)
    assert main(["state", "demo"]) == 1
    said = capfd.readouterr().err
    assert f"runwasi: state demo: {path}: Permission denied" in said
    assert (_ADVICE in said) is is_advised
