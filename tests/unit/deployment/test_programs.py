"""Which folder of programs an installation configures."""

from __future__ import annotations

from pathlib import Path

import pytest

from runwasi.deployment import programs
from runwasi.deployment.target_node import TargetNode
from runwasi.startup import installation


@pytest.mark.parametrize(
    ("version", "folder"),
    [
        ("", "/usr/local/bin"),
        ("/usr/lib/runwasi/0.1.0-1", "/usr/bin"),
        ("/usr/local/lib/runwasi/0.1.0-1", "/usr/local/bin"),
        ("/opt/runwasi/lib/runwasi/0.1.0-1", "/opt/runwasi/bin"),
    ],
)
def test_the_folder_is_the_installations(
    version: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "folder", lambda: version)
    assert programs.default_folder(TargetNode(str(tmp_path))) == folder


def test_links_in_path_are_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "folder", lambda: "/opt/runwasi/lib/runwasi/0.1.0-1")
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/containerd-shim-wasmtime-v1").touch()
    assert programs.default_folder(TargetNode(str(tmp_path))) == "/usr/local/bin"
