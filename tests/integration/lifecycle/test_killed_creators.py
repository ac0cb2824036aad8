"""Whoever makes a process of a container is killed while that does not get on: nothing is left running.

And once a container is created, or its program runs, it lives on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.bundle import Bundle, in_user_namespace
from devtools.waiting import until
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached, descendants, wait_for_exit
from tests.support.hooks import sleeping_hook
from tests.support.hung_mount import HungMount, shared_folder
from tests.support.runtime import Runtime
from tests.support.wasm import large_module

SLEEP = ["sleep", "1000"]
CREATORS = {"create": ["create"], "run": ["run"], "run in the background": ["run", "--detach"]}
creators = pytest.mark.parametrize("words", CREATORS.values(), ids=CREATORS)


class Creator:
    """A command line that makes a container, and gets stuck."""

    def __init__(self, runtime: Runtime, words: list[str], made: Bundle, container_id: str) -> None:
        self._state = runtime.root / container_id / "state.json"
        command = runtime.command(*words, "--bundle", str(made.path), container_id)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def child(self) -> int:
        """The container's first process, as soon as it is known."""
        return until(self._pid, bool)

    def kill(self) -> None:
        """Kill the command in a way that it cannot catch."""
        self.process.kill()
        self.process.wait()

    def _pid(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return int(json.loads(self._state.read_text()).get("pid", 0))
        return 0


@creators
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_ends_with_its_creator(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path, kind: str, words: list[str]
) -> None:
    made = bundle(SLEEP)
    pid_of_hook = sleeping_hook(folder, kind, made)
    creator = Creator(runwasi, words, made, container_id)
    pid_of_hook()
    running = until(lambda: descendants(creator.process.pid), lambda pids: len(pids) == 2)
    assert creator.child() in running
    creator.kill()
    for pid in running:
        wait_for_exit(pid)
    assert runwasi.state(container_id)["status"] == "stopped"


@creators
def test_a_process_that_waits_for_a_mount_ends_with_its_creator(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path, words: list[str]
) -> None:
    made = bundle(SLEEP)
    made.process["user"] = {"uid": 1000, "gid": 1000}
    with HungMount(folder / "hung"):
        made.config["mounts"].append(
            {"destination": "/hung", "type": "bind", "source": str(folder / "hung"), "options": ["rbind"]}
        )
        creator = Creator(runwasi, words, made.write(), container_id)
        child = creator.child()
        creator.kill()
        wait_for_exit(child)


@pytest.mark.parametrize("mapped", [False, True], ids=["", "in a user namespace"])
@pytest.mark.parametrize("uid", [0, 1000])
def test_a_process_that_waits_for_its_program_ends_with_its_creator(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path, uid: int, mapped: bool
) -> None:
    made = bundle(["/hung/program"])
    made.process["user"] = {"uid": uid, "gid": uid}
    if mapped:
        in_user_namespace(made)
        runwasi.root.parent.chmod(0o755)
    with HungMount(folder / "hung"):
        made.config["mounts"].append(
            {"destination": "/hung", "type": "bind", "source": str(folder / "hung"), "options": ["rbind"]}
        )
        creator = Creator(runwasi, ["run"], made.write(), container_id)
        child = creator.child()
        creator.kill()
        wait_for_exit(child)


def test_a_compiler_ends_with_its_creator(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["/large.wasm"], files={"large.wasm": large_module(os.urandom(8))})
    creator = Creator(runwasi, ["run"], made, container_id)
    running = until(lambda: descendants(creator.process.pid), lambda pids: len(pids) == 3)
    creator.kill()
    for pid in running:
        wait_for_exit(pid)


@pytest.mark.parametrize("words", [["run"], ["run", "--detach"]], ids=["run", "run in the background"])
def test_a_hook_before_the_program_ends_with_a_run(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, words: list[str]
) -> None:
    made = bundle(SLEEP)
    made.config["hooks"] = {"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}
    creator = Creator(runwasi, words, made.write(), container_id)
    child = creator.child()
    until(lambda: descendants(child), bool)
    creator.kill()
    wait_for_exit(child)


def test_a_container_outlives_the_start_of_another_program(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """It is not the child of who starts it, as with runc."""
    made = bundle(SLEEP)
    script = "read line < /tmp/go"
    made.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    os.mkfifo(made.rootfs / "tmp/go")
    container = Detached(runwasi, made.write(), container_id)
    container.create()
    pid = container.pid
    starting = subprocess.Popen(runwasi.command("start", container_id))
    until(lambda: descendants(pid), bool)
    starting.kill()
    starting.wait()
    (made.rootfs / "tmp/go").write_text("\n")
    until(lambda: _runs_its_program(pid), bool)


@pytest.mark.parametrize("how", ["create", "run"])
def test_a_created_container_outlives_its_creator(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path, how: str
) -> None:
    made = bundle(SLEEP)
    if how == "create":
        container = Detached(runwasi, made, container_id)
        container.create()
        assert container.status == "created"
        return
    creator = Creator(runwasi, ["run"], made, container_id)
    child = creator.child()
    until(lambda: _runs_its_program(child), bool)
    creator.kill()
    assert runwasi.state(container_id)["status"] == "running"


# Where a run is when it is killed: at entry of the Nth of these system calls.
DEATHS = [
    *(("sendmsg", n) for n in (1, 2)),
    *(("recvmsg", n) for n in (1, 2)),
    *(("rename", n) for n in (3, 4)),
    *(("poll", n) for n in (1, 2)),
    *((name, 1) for name in ("prlimit64", "connect", "exit_group")),
]


@pytest.mark.parametrize(("syscall", "when"), DEATHS)
def test_a_run_killed_at_any_step_leaves_a_program_or_nothing(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, syscall: str, when: int
) -> None:
    made = bundle(SLEEP)
    command = ["strace", "-o", "/dev/null", "-e", f"trace={syscall}"]
    command += ["-e", f"inject={syscall}:signal=KILL:when={when}"]
    command += runwasi.command("run", "--detach", "--bundle", str(made.path), container_id)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    state = runwasi.root / container_id / "state.json"
    pid = json.loads(state.read_text()).get("pid", 0) if state.exists() else 0
    until(lambda: not Path(f"/proc/{pid}/stat").exists() or _runs_its_program(pid), bool)


def _runs_its_program(pid: int) -> bool:
    """Return whether a process has executed the container's program; its command line is the same before."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "busybox"
    except FileNotFoundError:
        return False


# exec


@pytest.fixture
def later_hung(runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path) -> Iterator[Detached]:
    """A running container that has a mount which hangs at /shared/hung."""
    made = bundle(SLEEP)
    shared = shared_folder(made, folder / "shared")
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    with HungMount(shared / "hung"):
        yield container
        runwasi("delete", "--force", container_id)


@pytest.mark.parametrize("user", ["0", "1000"])
@pytest.mark.parametrize("options", [[], ["--detach"]], ids=["exec", "exec in the background"])
def test_a_process_on_its_way_ends_with_its_exec(later_hung: Detached, options: list[str], user: str) -> None:
    words = ["exec", "--user", user, *options, later_hung.id, "/shared/hung/program"]
    command = later_hung.runtime.command(*words)
    executing = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (child,) = until(lambda: descendants(executing.pid), bool)
    executing.kill()
    executing.wait()
    wait_for_exit(child)


def test_a_program_outlives_its_exec(later_hung: Detached) -> None:
    command = later_hung.runtime.command("exec", later_hung.id, "sleep", "500")
    executing = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (child,) = until(lambda: descendants(executing.pid), bool)
    until(lambda: _runs_its_program(child), bool)
    executing.send_signal(signal.SIGKILL)
    executing.wait()
    os.kill(child, 0)
