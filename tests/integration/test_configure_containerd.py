"""What the node installer does to containerd's configuration, judged by containerd itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devtools.containerd import HOSTS
from devtools.places import ROOT

_SCRIPT = ROOT / "packaging/kubernetes/configure-containerd"


def _configure(release: str, config: Path) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PATH=f"{HOSTS[release].programs}:{os.environ['PATH']}")
    return subprocess.run(
        [_SCRIPT, "wasmtime", config], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("release", "version"), [("1.6", 2), ("1.7", 2), ("2", 2), ("2", 3)])
def test_containerd_knows_the_runtime_beside_runc_afterwards(
    release: str, version: int, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"version = {version}\n")

    assert _configure(release, config).stdout == "changed\n"

    containerd = HOSTS[release].programs / "containerd"
    dump = subprocess.check_output([containerd, "--config", config, "config", "dump"], text=True)
    assert "io.containerd.wasmtime.v1" in dump
    assert "io.containerd.runc.v2" in dump


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    _configure("1.6", config)
    before = config.read_bytes()

    assert _configure("1.6", config).stdout == ""

    assert config.read_bytes() == before


def test_a_configuration_that_containerd_refuses_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version = 2\nroot = [\n")

    done = _configure("1.6", config)

    assert done.returncode == 1
    assert "left as it was" in done.stderr
    assert config.read_text() == "version = 2\nroot = [\n"
    assert list(tmp_path.iterdir()) == [config]
