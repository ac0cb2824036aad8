"""daemon.json with our runtime in it, and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.docker_config import DockerConfig
from runwasi.deployment.target_node import TargetNode

_PROGRAM = "/usr/local/bin/runwasi"


def _install(path: Path) -> None:
    for change in DockerConfig(TargetNode(), str(path)).install(_PROGRAM).changes:
        change.apply()


def _uninstall(path: Path) -> None:
    for change in DockerConfig(TargetNode(), str(path)).uninstall().changes:
        change.apply()


@pytest.mark.parametrize(
    "text",
    [
        '{\n    "log-driver": "journald",\n    "data-root": "/srv/docker"\n}\n',
        '{\n\t"runtimes": {\n\t\t"nvidia": {\n\t\t\t"path": "nvidia-container-runtime"\n\t\t}\n\t}\n}\n',
        '{\n  "registry-mirrors": [\n    "https://mirror.example"\n  ],\n  "labels": [\n    "städte=1"\n  ]\n}\n',
    ],
)
def test_everything_else_stays_and_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    _install(path)
    document = json.loads(path.read_text())
    assert document["runtimes"].pop("runwasi") == {"path": _PROGRAM}
    before = json.loads(text)
    assert {**before, "runtimes": before.get("runtimes", {})} == document
    assert (tmp_path / "daemon.json.before-runwasi").read_text() == text
    _uninstall(path)
    assert path.read_text() == text


def test_without_a_file_one_is_made_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "docker/daemon.json"
    _install(path)
    assert json.loads(path.read_text()) == {"runtimes": {"runwasi": {"path": _PROGRAM}}}
    assert DockerConfig(TargetNode(), str(path)).install(_PROGRAM).changes == []
    _uninstall(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{\n  "debug":\n}\n', "daemon.json:3: "),
        ('{"debug": true, "debug": false}', "debug: is there twice"),
        ("[]", "is not a JSON object"),
        ('{"runtimes": []}', "runtimes: is not a JSON object"),
    ],
)
def test_a_broken_file_is_refused_by_name(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    with pytest.raises(DeploymentError, match="left as it was") as refused:
        _install(path)
    assert why in str(refused.value)
    assert path.read_text() == text


def test_options_of_the_operator_stay(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"runtimes": {"runwasi": {"path": "/opt/runwasi", "runtimeArgs": ["--debug"]}}}')
    plan = DockerConfig(TargetNode(), str(path)).install(_PROGRAM)
    assert plan.changes == []
    assert any("options of yours" in note for note in plan.notes)


def test_the_default_runtime_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"default-runtime": "runwasi", "runtimes": {"runwasi": {"path": "/x"}}}')
    with pytest.raises(DeploymentError, match="set it to another runtime first"):
        DockerConfig(TargetNode(), str(path)).uninstall()
