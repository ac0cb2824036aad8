"""Scopes of a user's own systemd: what a runtime without privileges can have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.places import ROOT

NOBODY = 65534
MIB = 1 << 20


@pytest.fixture(scope="module")
def runtime_folder() -> Iterator[str]:
    """A user's systemd with its bus, as logging in would start it."""
    folder = f"/run/user/{NOBODY}"
    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chown(folder, NOBODY, NOBODY)
    Path(folder).chmod(0o700)
    service = [
        "--unit=manager-of-nobody",
        f"--uid={NOBODY}",
        f"--gid={NOBODY}",
        f"--setenv=XDG_RUNTIME_DIR={folder}",
    ]
    command = ["/lib/systemd/systemd", "--user", "--unit=dbus.socket"]
    start = [
        "systemd-run",
        "--quiet",
        "--property=Type=notify",
        "--property=Delegate=yes",
        *service,
        *command,
    ]
    subprocess.run(start, check=True, timeout=60)
    yield folder
    subprocess.run(["systemctl", "stop", "manager-of-nobody"], check=True)


AS_A_USER = f"""
import json, os, subprocess
from runwasi.executor.limits import cgroup_limits
from runwasi.linux.cgroups import cgroup_at, cgroup_from
from runwasi.linux.cgroups.units import UnitManager
from runwasi.linux.waiting import finish
from runwasi.oci.resources import Memory, Pids, Resources

scope = cgroup_at(":tests:one", systemd=True, rootless=True)
process, other = (subprocess.Popen(["sleep", "100"], stdout=subprocess.DEVNULL) for _ in range(2))
scope.enter(process.pid)
cgroup_limits.apply(scope, Resources(memory=Memory(limit={32 * MIB}), pids=Pids(limit=9)))
again = cgroup_from(scope.paths(), systemd=True, rootless=True)
again.enter(other.pid)
with UnitManager(user=True) as manager:
    known = manager.property_of(scope.unit, "Scope", "MemoryMax")
told = dict(
    path=scope.paths()[""],
    pids=sorted(again.pids()) == sorted([process.pid, other.pid]),
    known=known,
    memory=scope.read("memory", "memory.max"),
    tasks=scope.read("pids", "pids.max"),
)
again.kill()
process.wait(), other.wait()
finish(again.remove())
print(json.dumps(dict(told, left=os.path.exists(told["path"]))))
"""


def test_a_user_has_scopes_with_limits_below_their_own_manager(runtime_folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_A_USER],
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=ROOT,
        env={"XDG_RUNTIME_DIR": runtime_folder, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "path": "/sys/fs/cgroup/system.slice/manager-of-nobody.service/user.slice/tests-one.scope",
        "pids": True,
        "known": 32 * MIB,
        "memory": f"{32 * MIB}\n",
        "tasks": "9\n",
        "left": False,
    }
