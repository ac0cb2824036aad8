"""`runwasi install` and `uninstall`: what they say, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from errno import EACCES
from pathlib import Path

import pytest

from devtools.places import ROOT
from runwasi.cli.main import main
from runwasi.cli.targets import TARGETS
from runwasi.deployment import programs


def test_without_a_target_everything_is_listed_and_nothing_changed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text("{}\n")
    assert main(["install", "--host", str(tmp_path)]) == 0
    said = capfd.readouterr().out
    assert all(target in said for target in TARGETS)
    assert f"to change: {tmp_path}/etc/docker/daemon.json" in said
    assert (tmp_path / "etc/docker/daemon.json").read_text() == "{}\n"


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text("{\n")
    assert main(["install", "--host", str(tmp_path)]) == 1
    said = capfd.readouterr()
    assert f"docker: {tmp_path}/etc/docker/daemon.json:2: " in said.err
    assert "kind" in said.out


def test_podmans_file_is_removed_even_without_podman(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host = ["--host", str(tmp_path), "--write"]
    assert main(["install", "podman", *host]) == 0
    (written,) = (tmp_path / "etc/containers/containers.conf.d").iterdir()
    assert main(["uninstall", "all", *host]) == 0
    assert f"removed {written}" in capfd.readouterr().out
    assert not written.exists()


def test_the_units_are_removed_even_without_systemd(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host = ["--host", str(tmp_path), "--write"]
    assert main(["install", "units", *host]) == 0
    assert "\nunits: the change is not in force yet: have systemd start them" in capfd.readouterr().err
    assert main(["uninstall", "all", *host]) == 0
    assert list((tmp_path / "etc/systemd/system").iterdir()) == []


def test_without_kubectl_the_classes_cannot_be_applied_and_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["install", "kubernetes", "--write"]) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert said == "runwasi: install kubernetes: kubectl apply --filename -: kubectl is not in PATH"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["install", "dokcer"], 'no target "dokcer"'),
        (["install", "all", "docker"], '"all" stands alone'),
        (["install", "podman", "--config", "x"], "--config names the file of one target"),
        (["install", "--write"], "--write needs targets"),
        (["install", "containerd", "--engine", "v8"], "there is no engine 'v8'"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    words: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    assert why in capfd.readouterr().err


def test_the_manifest_alone_is_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "kubernetes"]) == 0
    assert capfd.readouterr().out.startswith("apiVersion: node.k8s.io/v1\n")


def test_a_python_environment_gets_launchers_that_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bin"
    assert main(["install", "programs", "--bin", str(folder), "--write"]) == 0
    said = subprocess.check_output([folder / "containerd-shim-wasmtime-v1", "-v"], text=True, env={})
    assert "containerd-shim-wasmtime-v1:" in said
    (folder / "containerd-wasmtimed").write_text("#!/bin/sh\n# somebody else's\n")
    assert main(["uninstall", "programs", "--bin", str(folder), "--write"]) == 0
    assert [path.name for path in folder.iterdir()] == ["containerd-wasmtimed"]


@pytest.mark.parametrize(("user", "owner", "warned"), [(0, 1000, True), (0, 0, False), (1000, 1000, False)])
def test_root_is_warned_of_an_environment_that_another_user_could_change(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], user: int, owner: int, warned: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(programs, "_owner_of", lambda _path: owner)
    assert main(["install", "programs", "--bin", "/nonexistent/bin"]) == 0
    note = f"{sys.prefix} is another user's, who could change what /nonexistent/bin runs as root"
    assert (note in capfd.readouterr().err) is warned


def test_a_folder_that_we_must_not_write_to_is_named_with_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: str) -> None:
        raise PermissionError(EACCES, os.strerror(EACCES), "/bin/.runwasi.temporary")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert main(["install", "programs", "--bin", str(tmp_path), "--write"]) == 1
    assert f"{tmp_path}/runwasi: Permission denied: run it as root" in capfd.readouterr().err


def test_changes_before_a_failure_are_reported(tmp_path: Path) -> None:
    """Also to a reader that is no terminal, when the program ends by its error."""
    script = (
        "import os, sys\n"
        "from runwasi.cli import install_command\n"
        "from runwasi.deployment.deployment_error import DeploymentError\n"
        "def refuse(command): raise DeploymentError('refused')\n"
        "install_command._say('wrote it')\n"
        "install_command.run = refuse\n"
        "try: install_command._run_each([['restart']])\n"
        "except DeploymentError: os._exit(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "wrote it\n")
