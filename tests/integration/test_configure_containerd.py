"""What the node installer does to containerd's configuration, judged by containerd itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from devtools.containerd import HOSTS
from devtools.places import ROOT
from runwasi.engines.annotation_names import HANDLER, VARIANT, is_unsafe
from runwasi.engines.annotations import OURS

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


def test_the_names_it_writes_are_the_safe_ones_and_are_documented() -> None:
    safe = [*(name for name in OURS if not is_unsafe(name)), HANDLER, VARIANT]
    written = re.search(r'safe_annotations="(.*?)"', _SCRIPT.read_text(), re.DOTALL)
    assert written
    assert written[1].split() == safe
    for page in ("README.md", "docs/annotations.md"):
        listed = re.search(r"pod_annotations = \[(.*?)\]", (ROOT / page).read_text(), re.DOTALL)
        assert listed
        assert re.findall(r'"(.*?)"', listed[1]) == safe, page


_BY_SYSTEMD = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
"""


@pytest.mark.parametrize("release", list(HOSTS))
@pytest.mark.parametrize("by_systemd", [False, True])
def test_the_driver_of_cgroups_is_copied_from_runc(release: str, by_systemd: bool, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version = 2\n" + (_BY_SYSTEMD if by_systemd else ""))

    assert _configure(release, config).stdout == "changed\n"

    added = config.read_text().partition("runtimes.wasmtime]")[2]
    assert ("SystemdCgroup = true" in added) is by_systemd
    assert (tmp_path / "runwasi-options.toml").exists() is (by_systemd and release == "1.6")


@pytest.mark.parametrize("release", list(HOSTS))
def test_what_a_table_lacks_that_is_there_already_is_said(release: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    table = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmtime]\n'
    config.write_text(f'version = 2\n{_BY_SYSTEMD}{table}  runtime_type = "io.containerd.wasmtime.v1"\n')
    before = config.read_text()

    done = _configure(release, config)

    assert (done.returncode, done.stdout, config.read_text()) == (0, "", before)
    assert "passes no annotations of pods on: it has no pod_annotations" in done.stderr
    assert "lacks the option SystemdCgroup, which runc has" in done.stderr
