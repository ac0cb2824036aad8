"""The configuration of a native program applies to a module in the same way."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle, in_user_namespace
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

Json = Any


@pytest.fixture
def sleeper(bundle: BundleMaker, wasi_demo_app: bytes) -> Bundle:
    """A bundle whose module sleeps, with busybox beside it."""
    return bundle(["/demo.wasm", "sleep", "100"], files={"/demo.wasm": wasi_demo_app})


def said(*command: str | int) -> str:
    """Return a host program's output."""
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_a_module_gets_what_a_program_gets(
    runwasi: Runtime, sleeper: Bundle, container_id: str, userns: bool
) -> None:
    sleeper.process.update(
        scheduler={"policy": "SCHED_BATCH", "nice": -3},
        ioPriority={"class": "IOPRIO_CLASS_RT", "priority": 6},
        oomScoreAdj=600,
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 300}],
        user={"uid": 1000, "gid": 1001, "umask": 0o27, "additionalGids": [5]},
    )
    sleeper.linux["namespaces"] += [{"type": "time"}, {"type": "cgroup"}]
    sleeper.linux.update(
        timeOffsets={"monotonic": {"secs": 1000}},
        personality={"domain": "LINUX32"},
        memoryPolicy={"mode": "MPOL_INTERLEAVE", "nodes": "0"},
        resources={"memory": {"limit": 1 << 28}, "pids": {"limit": 50}},
    )
    if userns:
        in_user_namespace(sleeper)
    container = Detached(runwasi, sleeper.write(), container_id)
    container.run()
    process = Path(f"/proc/{container.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    first = 100_000 if userns else 0
    assert status["Uid"].split() == [str(first + 1000)] * 4
    assert status["Gid"].split() == [str(first + 1001)] * 4
    assert status["Groups"].split() == [str(first + 5)]
    assert status["Umask"] == "0027"
    assert "SCHED_BATCH" in said("chrt", "-p", container.pid)
    assert os.getpriority(os.PRIO_PROCESS, container.pid) == -3
    assert said("ionice", "-p", container.pid) == "realtime: prio 6\n"
    assert (process / "oom_score_adj").read_text() == "600\n"
    assert (process / "personality").read_text() == "00000008\n"
    assert " interleave:0 " in (process / "numa_maps").read_text()
    assert "monotonic        1000         0" in (process / "timens_offsets").read_text()
    limits = [
        line.split()[3:5] for line in (process / "limits").read_text().splitlines() if "open files" in line
    ]
    assert limits == [["200", "300"]]
    assert len(runwasi("ps", "--format", "json", container_id).stdout.split(",")) >= 1


def test_a_modules_life_has_all_hooks_and_its_own_namespaces(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str
) -> None:
    made = bundle(["/demo.wasm", "write", "/tmp/order", "program"], files={"/demo.wasm": wasi_demo_app})
    order = made.rootfs / "tmp/order.hooks"
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    made.config["hooks"] = {
        kind: [
            {
                "path": "/bin/sh",
                "args": [
                    "sh",
                    "-c",
                    f"echo {kind} >> {'/tmp/order.hooks' if kind == 'startContainer' else order}",
                ],
            }
        ]
        for kind in kinds
    }
    runwasi("run", "--bundle", made.write().path, container_id)
    assert order.read_text().split() == [*kinds]
    assert "program" in (made.rootfs / "tmp/order").read_text()


def test_a_filter_of_the_spec_holds_for_a_module(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str
) -> None:
    made = bundle(["/demo.wasm", "write", "/tmp/file", "text"], files={"/demo.wasm": wasi_demo_app})
    making = {"index": 2, "value": os.O_CREAT, "valueTwo": os.O_CREAT, "op": "SCMP_CMP_MASKED_EQ"}
    rule = {"names": ["openat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EDQUOT, "args": [making]}
    # whoever is refused the newer call takes the one whose flags a filter can see
    newer = {"names": ["openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    made.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule, newer]}
    refused = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert refused.returncode != 0
    assert not (made.rootfs / "tmp/file").exists()


@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_programs_and_modules_are_executed_beside_a_module(
    runwasi: Runtime, sleeper: Bundle, container_id: str, userns: bool
) -> None:
    if userns:
        in_user_namespace(sleeper)
    container = Detached(runwasi, sleeper.write(), container_id)
    container.run()
    inside = runwasi("exec", container_id, "sh", "-c", "readlink /proc/self/ns/pid; id -u").stdout.split()
    assert inside == [os.readlink(f"/proc/{container.pid}/ns/pid"), "0"]
    assert "from a module" in runwasi("exec", container_id, "/demo.wasm", "echo", "from a module").stdout
    assert runwasi("exec", container_id, "/demo.wasm", "exit", "7", check=False).returncode == 7
    done = runwasi("exec", "--user", "7:8", container_id, "/demo.wasm", "write", "/tmp/x", "y", check=False)
    assert done.returncode != 0  # /tmp is root's
    assert container.status == "running"
