"""A creator or a container that dies at any point: delete cleans up, and nothing else is harmed.

The guard of conftest.py fails these tests when a process, mount, cgroup or folder outlives them.
"""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.executor.parent.creation import create
from runwasi.executor.plan.bundle import Bundle as LoadedBundle
from runwasi.executor.plan.create_options import CreateOptions
from runwasi.linux.waiting import finish
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

# Where create is when the creator is killed: at entry of the Nth of these system calls.
DEATHS = [
    *(("mkdir", n) for n in (1, 2, 3, 5, 8, 12)),
    *(("rename", n) for n in (1, 2, 3, 4)),
    *(("bind", 1), ("clone3", 1), ("sendmsg", 1), ("recvmsg", 1), ("prlimit64", 1), ("exit_group", 1)),
]


def kill_creator(runtime: Runtime, bundle: Path, container_id: str, syscall: str, when: int) -> int:
    """Run create under strace, which kills it; return the status that strace ends with."""
    command = ["strace", "-o", "/dev/null", "-e", f"trace={syscall}"]
    command += ["-e", f"inject={syscall}:signal=KILL:when={when}"]
    command += runtime.command("create", "--bundle", str(bundle), container_id)
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
    ).returncode


@pytest.mark.parametrize(("syscall", "when"), DEATHS)
def test_a_creator_killed_at_any_step_leaves_what_delete_can_clean(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, syscall: str, when: int
) -> None:
    made = bundle(["sleep", "100"])
    status = kill_creator(runwasi, made.path, container_id, syscall, when)
    assert status in (-signal.SIGKILL, 128 + signal.SIGKILL, 0)
    runwasi("delete", "--force", container_id)
    assert not (runwasi.root / container_id).exists()
    Detached(runwasi, made, container_id).create()  # the name is free again


def test_a_half_made_container_is_listed_as_stopped_and_cannot_be_started(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    kill_creator(runwasi, made.path, container_id, "clone3", 1)
    assert runwasi.state(container_id)["status"] == "stopped"
    refused = runwasi("start", container_id, check=False)
    assert refused.returncode == 1
    assert "cannot start a container that has stopped" in refused.stderr
    runwasi("delete", container_id)


def test_of_two_creators_of_one_id_one_wins(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    containers = [Detached(runwasi, bundle(["sleep", "100"]), container_id) for _ in range(4)]

    def create(container: Detached) -> str:
        try:
            container.create()
        except AssertionError as refused:
            return str(refused)
        return ""

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(create, containers))
    assert answers.count("") == 1
    assert all("already exists" in answer for answer in answers if answer)
    assert runwasi.state(container_id)["status"] == "created"


def test_a_failed_create_leaves_nothing(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    for arguments in (["/does/not/exist"], ["/etc"]):
        made = bundle(arguments)
        assert runwasi("create", "--bundle", made.path, container_id, check=False).returncode == 1
        assert list(runwasi.root.iterdir()) == []


def test_a_create_that_was_refused_does_not_harm_the_container_of_that_name(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    container = Detached(runwasi, bundle(["sleep", "100"]), container_id)
    container.run()
    assert runwasi("create", "--bundle", bundle(["true"]).path, container_id, check=False).returncode == 1
    assert container.status == "running"


def test_a_container_whose_cgroup_was_removed_behind_our_back_is_still_deleted(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    container = Detached(runwasi, bundle(["sleep", "100"]), container_id)
    container.run()
    pid = container.pid
    paths = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    runwasi("kill", container_id, "KILL")
    container.wait()
    for _, controllers, path in paths:
        folder = Path("/sys/fs/cgroup", controllers.removeprefix("name=") or "unified", path.lstrip("/"))
        if path.endswith(container_id) and folder.is_dir():
            folder.rmdir()
    runwasi("delete", container_id)


@pytest.mark.parametrize("readonly", [False, True])
def test_mounts_made_without_a_mount_namespace_go_with_the_container(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, readonly: bool
) -> None:
    made = bundle(["sh", "-c", "touch /here; true"])
    made.config["root"]["readonly"] = readonly
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "mount"]
    for member in ("maskedPaths", "readonlyPaths"):
        del made.linux[member]
    made.write()

    def mounted() -> list[str]:
        return [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(made.rootfs) in line
        ]

    container = Detached(runwasi, made, container_id)
    container.create()
    assert len(mounted()) == len(made.config["mounts"]) + readonly
    runwasi("start", container_id)
    container.wait()
    runwasi("delete", container_id)
    assert mounted() == []
    assert (made.rootfs / "here").exists() is not readonly


def test_a_damaged_state_is_said_and_force_deletes_the_folder(runwasi: Runtime, container_id: str) -> None:
    folder = runwasi.root / container_id
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"id":')
    refused = runwasi("state", container_id, check=False)
    assert refused.returncode == 1
    assert "state.json is damaged" in refused.stderr
    deleted = runwasi("delete", "--force", container_id)
    assert "state.json is damaged" in deleted.stderr
    assert "a process, mounts or a cgroup of it would be left" in deleted.stderr
    assert not folder.exists()


def test_a_create_that_fails_leaves_its_caller_no_descriptor(bundle: BundleMaker, folder: Path) -> None:
    made = bundle(["true"])
    made.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PARISC"]}
    made.config["mounts"].append(
        {"destination": "/x", "type": "bind", "source": "/does/not/exist", "options": ["bind"]}
    )
    loaded = LoadedBundle.load(str(made.write().path))
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(ContainerError):
            finish(
                create(str(folder / "root"), "one", loaded, CreateOptions(cache_root=str(folder / "cache")))
            )
    assert os.listdir("/proc/self/fd") == before


def test_a_full_state_file_system_fails_create_with_its_reason(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    full = folder / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4", "tmpfs", full], check=True)
    try:
        (full / "filler").write_bytes(bytes(4096))
        tight = Runtime("runwasi", full / "root")
        refused = tight("create", "--bundle", bundle(["true"]).path, container_id, check=False)
        assert refused.returncode == 1
        assert "No space left on device" in refused.stderr
    finally:
        subprocess.run(["umount", full], check=True)


def test_too_few_descriptors_fail_create_with_its_reason(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.process["rlimits"] = []
    command = runwasi.command("run", "--bundle", str(made.write().path), container_id)
    for limit in range(4, 64, 4):
        done = subprocess.run(
            ["prlimit", f"--nofile={limit}", *command], capture_output=True, text=True, check=False
        )
        assert not (runwasi.root / container_id).exists(), f"with {limit} descriptors: {done.stderr}"
        if done.returncode == 0:
            break
        assert limit < 8 or "Too many open files" in done.stderr
    assert done.returncode == 0
