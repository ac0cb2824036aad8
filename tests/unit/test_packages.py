"""Which of Debian's packages `scripts/packages` wants on which release, and how it asks for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devtools.places import ROOT


@pytest.mark.parametrize("group", ["vm", "arm64"])
@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        ('ID=debian\nVERSION_ID="12"\n', False),
        ('ID=debian\nVERSION_ID="13"\n', True),
        ("ID=debian\n", True),  # sid
        ('ID=ubuntu\nVERSION_ID="24.04"\n', True),
    ],
)
def test_virtiofsd_is_wanted_where_it_is_a_package(
    group: str, release: str, wanted: bool, tmp_path: Path
) -> None:
    (tmp_path / "os-release").write_text(release)
    environment = {"PATH": str(tmp_path), "OS_RELEASE": str(tmp_path / "os-release")}  # nothing is installed
    command = ["/bin/sh", str(ROOT / "scripts/packages"), group]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "qemu-system" in done.stderr
    assert ("virtiofsd" in done.stderr.split()) == wanted


def test_each_missing_package_is_asked_for_once_and_another_apt_is_waited_for(tmp_path: Path) -> None:
    for name, script in (
        ("apt-get", f'echo "$@" >>{tmp_path}/asked'),
        ("dpkg-query", "exit 1"),  # nothing is installed
        ("id", "echo 0"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    command = ["/bin/sh", str(ROOT / "scripts/packages"), "arm64", "vm"]
    subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, check=True)
    _, install = (tmp_path / "asked").read_text().splitlines()
    assert "-o DPkg::Lock::Timeout=" in install
    assert install.split().count("kmod") == 1
