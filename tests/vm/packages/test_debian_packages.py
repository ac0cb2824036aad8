"""The Debian packages under systemd: the units start, follow an upgrade and go, and a pod runs through all of it.

`make test-deb` makes the packages first, and those of a later version in build/newer-packages.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from devtools.places import ROOT
from devtools.waiting import until
from runwasi.wire.messages import task_types
from tests.support.newer_packages import made_packages
from tests.vm.daemon_calls import (
    ALONE,
    LOGGED,
    SECONDS,
    SERVICE,
    SOCKET,
    SOCKET_PATH,
    Pods,
    end_pod,
    is_active,
    shown,
    systemctl,
)

_VERSIONS = Path("/usr/lib/runwasi")
_DROP_INS = Path("/etc/systemd/system")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The daemon's log; its units need nothing of the machine, which has booted for these tests alone."""
    for unit in (SERVICE, SOCKET):
        (_DROP_INS / f"{unit}.d").mkdir()
        (_DROP_INS / f"{unit}.d/alone.conf").write_text(ALONE)
    log = tmp_path / "log"
    (_DROP_INS / f"{SERVICE}.d/log.conf").write_text(LOGGED.format(log=log))
    Path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)  # where it is, packages start nothing
    return log


def _dpkg(*words: str | Path) -> str:
    # Other packages' triggers, such as an index of all manuals, take minutes on an emulated processor.
    command = ["dpkg", "--no-triggers", "--force-unsafe-io", *words]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _installed() -> set[str]:
    """Return the names of the versions that are there."""
    return {path.parent.name for path in _VERSIONS.glob("*/manifest")}


@pytest.mark.timeout(800)
def test_a_pod_runs_through_install_upgrade_and_purge(start_pod: Pods, container_id: str, log: Path) -> None:
    _dpkg("--install", *made_packages())
    assert systemctl("is-enabled", SERVICE, SOCKET).split() == ["enabled", "enabled"]
    is_active()
    (first,) = _installed()

    systemctl("stop", SERVICE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(SOCKET_PATH)
        is_active()
    tasks = start_pod("containerd-shim-wasmtimed-v1", first)
    daemon = shown("MainPID")
    assert str(tasks.call("Connect", id=container_id).shim_pid) == daemon

    before = log.read_text().count('msg="serving"')
    _dpkg("--install", *sorted((ROOT / "build/newer-packages").glob("*.deb")))
    until(log.read_text, lambda text: text.count('msg="serving"') == before + 1, seconds=SECONDS)
    assert (is_active(), shown("MainPID"), shown("NRestarts")) == ("active", daemon, "0")
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    assert _installed() - {first}

    _dpkg("--remove", "runwasi-systemd")
    _dpkg("--install", *sorted((ROOT / "build/newer-packages").glob("runwasi-systemd_*.deb")))
    assert (shown("ActiveState"), shown("MainPID")) == ("deactivating", daemon)
    assert tasks.call("State", id=container_id).status == task_types.RUNNING

    _dpkg("--purge", "runwasi-systemd", "runwasi")
    assert shown("ActiveState") == "deactivating"
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    end_pod(tasks, container_id)
    tasks.peer.close()
    until(lambda: shown("ActiveState"), lambda state: state == "inactive", seconds=SECONDS)
    until(_VERSIONS.exists, lambda there: not there, seconds=SECONDS)
    left = [path for path in Path("/etc/systemd/system").rglob("*wasmtimed*") if path.is_symlink()]
    assert left == []
