"""What the Kubernetes installer leaves on a node when it is killed, and what it takes back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from scripts.node_installer import on_node


class _KilledError(Exception):
    pass


class _Node:
    """A node whose root is a folder; calls are the commands that the installer runs there."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "opt/runwasi"
        self.image = folder / "bundle"
        self.kept = self.prefix / on_node._KEPT
        self.calls: list[Sequence[str]] = []
        self.failing = ""

    def run(self, command: Sequence[str]) -> None:
        self.calls.append(command)
        if self.failing in command:
            raise subprocess.CalledProcessError(1, command)
        if "add" in command:
            (self.prefix / "bin").mkdir(parents=True, exist_ok=True)
            (self.prefix / "bin/runwasi").touch()
        if "remove" in command:
            shutil.rmtree(self.prefix / "bin", ignore_errors=True)

    def bring(self, name: str) -> None:
        """Have the image bring the bundle of that name."""
        shutil.rmtree(self.image, ignore_errors=True)
        self.image.mkdir()
        (self.image / "NAME").write_text(name)
        (self.image / "installer").write_text(name)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Node:
    node = _Node(tmp_path)
    node.bring("first")
    monkeypatch.setattr(on_node, "_NODE", "")
    monkeypatch.setattr(on_node, "_BUNDLE", str(node.image))
    monkeypatch.setattr(on_node, "_enter_node", lambda: None)
    monkeypatch.setattr(on_node, "_has_label", lambda: False)
    monkeypatch.setattr(on_node, "_units", lambda: ["units"])
    monkeypatch.setattr(on_node, "_run", node.run)
    return node


def _install(node: _Node) -> None:
    on_node.install(str(node.prefix), "containerd")


def _leave(node: _Node) -> None:
    on_node.leave(str(node.prefix), "containerd")


def _killed_copy(source: str, target: str, *, symlinks: bool) -> NoReturn:
    Path(target).mkdir()
    shutil.copy(f"{source}/NAME", target)
    raise _KilledError


@pytest.fixture
def killed_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "copytree", _killed_copy)


@pytest.mark.usefixtures("killed_copy")
def test_a_first_copy_that_was_killed_is_taken_back(node: _Node) -> None:
    with pytest.raises(_KilledError):
        _install(node)
    _leave(node)
    assert not node.prefix.exists()


def test_an_upgrade_that_was_killed_is_taken_back(node: _Node, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(node)
    node.bring("second")
    monkeypatch.setattr(shutil, "copytree", _killed_copy)
    with pytest.raises(_KilledError):
        _install(node)
    node.calls.clear()
    _leave(node)
    verbs = [next(word for word in ("uninstall", "remove") if word in call) for call in node.calls]
    assert verbs == ["uninstall", "remove"]
    assert not node.prefix.exists()


@pytest.mark.parametrize("renames", [1, 2])
def test_an_upgrade_killed_after_a_rename_has_a_whole_bundle(
    node: _Node, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(node)
    node.bring("second")
    done = []
    kernels = os.rename

    def rename(source: str, target: str) -> None:
        kernels(source, target)
        done.append(target)
        if len(done) == renames:
            raise _KilledError

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(_KilledError):
        _install(node)
    on_node._settle(str(node.kept))
    assert (node.kept / "installer").read_text() == ("first", "second")[renames - 1]
    assert [path.name for path in node.kept.parent.iterdir()] == ["bundle"]

    _install(node)
    assert (node.kept / "installer").read_text() == "second"
    _leave(node)
    assert not node.prefix.exists()


def test_a_failed_installation_takes_the_configuration_back_and_leaves_the_units(node: _Node) -> None:
    node.failing = "install"
    with pytest.raises(subprocess.CalledProcessError):
        _install(node)
    installed, taken_back = node.calls[-2:]
    assert [word for word in ("units", "containerd") if word in installed] == ["units", "containerd"]
    assert [word for word in ("units", "containerd") if word in taken_back] == ["containerd"]
