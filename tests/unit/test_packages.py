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


def _installing(folder: Path, apt_get: str, **others: str) -> subprocess.CompletedProcess[str]:
    """Ask for two groups where nothing is installed, with these shell scripts as apt-get and other programs."""
    scripts = {"apt-get": apt_get, "dpkg-query": "exit 1", "id": "echo 0", **others}
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    command = ["/bin/sh", str(ROOT / "scripts/packages"), "arm64", "vm"]
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_each_missing_package_is_asked_for_once_and_another_apt_is_waited_for(tmp_path: Path) -> None:
    done = _installing(tmp_path, f'echo "$@" >>{tmp_path}/asked')
    assert done.returncode == 0
    _, install = (tmp_path / "asked").read_text().splitlines()
    assert "-o DPkg::Lock::Timeout=" in install
    assert install.split().count("kmod") == 1


@pytest.mark.parametrize("status", [0, 100])
def test_what_apt_says_of_each_package_is_shown_if_it_fails(status: int, tmp_path: Path) -> None:
    done = _installing(tmp_path, f'[ "$1" = update ] || {{ echo unpacking; exit {status}; }}')
    assert done.returncode == min(status, 1)
    assert ("unpacking" in done.stdout + done.stderr) == (status != 0)


LOCKED = """
echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
exit 100"""


@pytest.mark.parametrize("action", ["update", "install"])
def test_a_lock_that_apt_does_not_wait_for_is_waited_for(action: str, tmp_path: Path) -> None:
    tried = f"{tmp_path}/tried"
    locked = f'[ "$1" = {action} ] || exit 0; echo . >>{tried}; [ $(wc -l <{tried}) -gt 2 ] && exit{LOCKED}'
    done = _installing(tmp_path, locked, sleep="")
    assert done.returncode == 0
    assert (tmp_path / "tried").read_text() == ".\n" * 3
    assert done.stderr.splitlines() == [f"waiting for another apt: {LOCKED.splitlines()[1][6:-1]}"]


def test_a_lock_that_is_never_free_is_given_up(tmp_path: Path) -> None:
    later = f"echo . >>{tmp_path}/now; echo $(($(wc -l <{tmp_path}/now) * 200))"
    done = _installing(tmp_path, LOCKED, sleep="", date=later)
    assert done.returncode == 1
    assert done.stderr.endswith("It is held by process 7 (apt-get)\n")
