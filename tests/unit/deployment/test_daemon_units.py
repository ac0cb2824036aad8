"""The units of the node daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.places import ROOT
from runwasi.cli.main import main
from runwasi.deployment import daemon_units


def test_the_packaged_units_are_those_that_install_writes() -> None:
    packaged = ROOT / "packaging/containerd-wasmtimed"
    program = "/usr/local/bin/containerd-wasmtimed"
    assert packaged.with_suffix(".service").read_text() == daemon_units.service("wasmtime", program)
    assert packaged.with_suffix(".socket").read_text() == daemon_units.socket("wasmtime")


def test_units_come_and_go_below_another_root(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / daemon_units.FOLDER.removeprefix("/")
    assert main(["install", "units", "--host", str(tmp_path), "--bin", "/opt/bin", "--write"]) == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {"containerd-wasmtimed.service", "containerd-wasmtimed.socket"}
    assert "ExecStart=/opt/bin/containerd-wasmtimed" in (folder / "containerd-wasmtimed.service").read_text()
    assert f"there is no {tmp_path}/opt/bin/containerd-wasmtimed" in capfd.readouterr().err
    assert main(["uninstall", "units", "--host", str(tmp_path), "--write"]) == 0
    assert list(folder.iterdir()) == []
