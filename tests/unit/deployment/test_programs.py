"""Which folder of programs an installation configures."""

from __future__ import annotations

from pathlib import Path

import pytest

from runwasi.deployment import programs
from runwasi.deployment.target_node import TargetNode
from runwasi.startup import installation

_SHIM = "containerd-shim-wasmtime-v1"


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
    for folder in ("opt/runwasi/bin", "usr/local/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "opt/runwasi/bin" / _SHIM).touch()
    (tmp_path / "usr/local/bin" / _SHIM).symlink_to(f"../../../opt/runwasi/bin/{_SHIM}")
    assert programs.default_folder(TargetNode(str(tmp_path))) == "/usr/local/bin"


def test_programs_in_path_that_are_not_links_to_ours_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "folder", lambda: "/opt/runwasi/lib/runwasi/0.1.0-1")
    for folder in ("opt/runwasi/bin", "usr/local/bin"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / _SHIM).touch()
    assert programs.default_folder(TargetNode(str(tmp_path))) == "/opt/runwasi/bin"
