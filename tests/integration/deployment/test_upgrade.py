"""An installation replaced or removed under running pods: those run on with the code they were started with."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, TypeAlias

import pytest

from devtools.places import ROOT
from devtools.waiting import until
from runwasi.wire.messages import task_types
from runwasi.wire.messages.cgroups_v1 import Metrics as MetricsV1
from runwasi.wire.messages.cgroups_v2 import Metrics as MetricsV2
from runwasi.wire.messages.well_known import Any as Packed
from tests.integration.shim.test_task_api import process, refused
from tests.support.detached import wait_for_exit
from tests.support.shim import EventSink, RunningShim, Shim, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from devtools.bundle import Bundle
    from tests.integration.conftest import BundleMaker

SLEEP = ["sleep", "1000"]
METRICS: dict[str, type[MetricsV1 | MetricsV2]] = {
    "io.containerd.cgroups.v1.Metrics": MetricsV1,
    "io.containerd.cgroups.v2.Metrics": MetricsV2,
}
ENGINES_AND_DAEMONS = ("wasmtime", "wasmtimed", "wasmedge", "wasmedged", "wasmer", "wasmerd")
TREE = ("runwasi", "scripts", "pyproject.toml", "README.md", "LICENSE")
# In the changed tree these packages have other names, so code of one tree cannot import from the other.
RENAMED = ("engines", "executor", "linux")


def install(tree: Path, action: str, prefix: Path) -> str:
    command = [f"{tree}/scripts/install", action, str(prefix)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout


@pytest.fixture(scope="module")
def changed_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This work tree with another version's number and packages of other names."""
    tree = tmp_path_factory.mktemp("changed")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    edit(tree / "pyproject.toml", lambda text: text.replace('version = "0.1.0"', 'version = "0.2.0"'))
    edit(tree / "runwasi/__init__.py", lambda text: text.replace('"0.1.0"', '"0.2.0"'))
    for package in RENAMED:
        (tree / "runwasi" / package).rename(tree / f"runwasi/new_{package}")
    for path in (*tree.glob("runwasi/**/*.py"), *tree.glob("scripts/*.py")):
        edit(path, lambda text: re.sub(rf"\brunwasi\.({'|'.join(RENAMED)})\b", r"runwasi.new_\1", text))
    return tree


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.fixture
def prefix(folder: Path) -> Iterator[Path]:
    """A prefix with this work tree installed."""
    prefix = folder / "prefix"
    assert "kept" not in install(ROOT, "add", prefix)
    yield prefix
    install(ROOT, "remove", prefix)


def versions(prefix: Path) -> list[str]:
    """The versions that have a folder."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(
            path.name.partition("-")[0] for path in (prefix / "lib/runwasi").iterdir() if path.is_dir()
        )
    return []


def programs(prefix: Path) -> set[str]:
    return {path.name for path in (prefix / "bin").iterdir()}


@pytest.fixture
def daemon(prefix: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """The installed node daemon; it ends with the test at the latest."""
    socket = folder / "manager/manager.sock"
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(socket))
    monkeypatch.delenv("RUNWASI_DAEMON")
    command = [f"{prefix}/bin/containerd-wasmtimed", "-address", str(socket)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as daemon:
        assert daemon.stderr is not None
        select.select([daemon.stderr], [], [], 20)
        assert b'msg="serving"' in daemon.stderr.readline()
        yield daemon
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)


@pytest.fixture
def installed_shim(prefix: Path, session_name: str, sink: EventSink) -> Iterator[Shim]:
    """The installed shim of normal mode."""
    shim = Shim("runwasi", session_name, sink, prefix / "bin")
    yield shim
    shim.clean()


@pytest.fixture
def shared_shim(
    prefix: Path, session_name: str, sink: EventSink, daemon: subprocess.Popen[bytes]
) -> Iterator[Shim]:
    """The installed shim of shared mode, whose daemon runs."""
    shim = Shim("shared", session_name, sink, prefix / "bin")
    yield shim
    shim.clean()


class Pod:
    """A pod of a native and a wasm container, the latter the second one."""

    def __init__(self, native: RunningShim, wasm_id: str, wasm: Bundle) -> None:
        self.native = native
        self.wasm_id = wasm_id
        self.wasm = wasm
        self.containers = (native.id, wasm_id)
        native.run()
        assert native.shim.start(wasm_id, wasm) == native.address
        native.call("Create", id=wasm_id, bundle=str(wasm.path))
        native.call("Start", id=wasm_id)

    def use_every_method(self, attempt: str) -> None:
        """Call all that leaves a running container running."""
        for container in self.containers:
            self._use(container, attempt)
        error = refused(lambda: self.native.call("Checkpoint", id=self.wasm_id, path="/nowhere"))
        assert "WebAssembly" in str(error)

    def _use(self, container: str, attempt: str) -> None:
        call = self.native.call
        assert call("State", id=container).status == task_types.RUNNING
        assert call("Connect", id=container).shim_pid == self.native.pid
        (pid,) = (item.pid for item in call("Pids", id=container).processes)
        assert pid == call("State", id=container).pid
        links = [os.readlink(entry) for entry in os.scandir(f"/proc/{pid}/fd")]
        assert [link for link in links if "lib/runwasi" in link] == []
        stats = call("Stats", id=container).stats
        assert METRICS[stats.type_url].decode(stats.value).memory
        call("Pause", id=container)
        assert call("State", id=container).status == task_types.PAUSED
        call("Resume", id=container)
        resources = Packed(type_url="types.containerd.io/opencontainers/runtime-spec/1/LinuxResources")
        resources.value = b'{"memory":{"limit":268435456}}'
        call("Update", id=container, resources=resources)
        call("CloseIO", id=container, stdin=True)
        self._execute(container, f"native-{attempt}", "true")
        self._execute(container, f"wasm-{attempt}", "/app.wasm", "echo", "hello")

    def _execute(self, container: str, exec_id: str, *program: str) -> None:
        call = self.native.call
        call("Exec", id=container, exec_id=exec_id, spec=process(*program))
        call("Start", id=container, exec_id=exec_id)
        assert call("Wait", id=container, exec_id=exec_id).exit_status == 0
        call("Delete", id=container, exec_id=exec_id)

    def end(self) -> None:
        """End the pod as containerd does."""
        for container in self.containers:
            self.native.call("Kill", id=container, signal=15, all=False)
            self.native.call("Kill", id=container, signal=9, all=True)
            assert self.native.call("Wait", id=container).exit_status in (137, 143)
            self.native.call("Delete", id=container)
        self.native.call("Shutdown")
        assert self.native.ended()

    def clean(self) -> None:
        """Run `delete` for both containers, as containerd does in the end, and when the server was killed."""
        for container, made in ((self.wasm_id, self.wasm), (self.native.id, self.native.bundle)):
            assert self.native.shim.delete(container, made).returncode == 0


PodMaker: TypeAlias = "Callable[[Shim], contextlib.AbstractContextManager[Pod]]"


@pytest.fixture
def pod(bundle: BundleMaker, new_id: Callable[[], str], wasi_demo_app: bytes) -> PodMaker:
    """Make pods: `with pod(shim) as made`."""

    @contextlib.contextmanager
    def make(shim: Shim) -> Iterator[Pod]:
        native = bundle(SLEEP, files={"/app.wasm": wasi_demo_app})
        wasm = bundle(["/app.wasm", *SLEEP], files={"/app.wasm": wasi_demo_app})
        names = new_id(), new_id()
        wasm.config["annotations"] = {"io.kubernetes.cri.sandbox-id": names[0]}
        for made in (native, wasm):
            made.linux["resources"] = {"memory": {"limit": 512 << 20}}
            made.write()
        with running(shim, names[0], native) as task:
            yield Pod(task, names[1], wasm)

    return make


def test_pods_of_every_kind_live_through_an_upgrade_and_a_removal(
    pod: PodMaker,
    prefix: Path,
    changed_tree: Path,
    installed_shim: Shim,
    shared_shim: Shim,
    daemon: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.ExitStack() as stack:
        with monkeypatch.context() as without_daemon:
            without_daemon.setenv("RUNWASI_DAEMON", "off")
            alone = stack.enter_context(pod(installed_shim))
        forked, shared = (stack.enter_context(pod(shim)) for shim in (installed_shim, shared_shim))
        assert shared.native.pid == daemon.pid
        assert "kept" in install(changed_tree, "add", prefix)
        assert versions(prefix) == ["0.1.0", "0.2.0"]
        assert "0.2.0" in output_of(prefix / "bin/containerd-shim-wasmtime-v1", "-v")
        for old in (alone, forked, shared):
            old.use_every_method("after the upgrade")
        for ending in (alone, forked):
            ending.end()
            ending.clean()
        # `delete` is the new version's: the daemon that it asked replaces itself, and was the last of its version
        until(lambda: versions(prefix), lambda left: left == ["0.2.0"])
        shared.use_every_method("after the upgrade of the daemon")
        new = stack.enter_context(pod(installed_shim))
        assert "kept" in install(changed_tree, "remove", prefix)
        for running_on in (new, shared):
            running_on.use_every_method("after the removal")
            running_on.end()
            running_on.clean()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
        until((prefix / "lib/runwasi").exists, lambda there: not there)
        assert programs(prefix) == set()


def test_after_a_removal_the_shim_starts_nothing_and_cleans_up_behind_a_killed_server(
    pod: PodMaker, prefix: Path, installed_shim: Shim, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    with pod(installed_shim) as old:
        install(ROOT, "remove", prefix)
        assert programs(prefix) == {f"containerd-shim-{kind}-v1" for kind in ENGINES_AND_DAEMONS}
        command = installed_shim.command(new_id(), "start")
        done = subprocess.run(
            command, cwd=bundle(SLEEP).path, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        assert done.returncode == 1
        assert b"runwasi was uninstalled" in done.stderr
        pids = [old.native.call("State", id=container).pid for container in old.containers]
        os.kill(old.native.pid, signal.SIGKILL)
        assert old.native.ended()
        old.clean()
        for pid in pids:
            wait_for_exit(pid)
    until((prefix / "lib/runwasi").exists, lambda there: not there)
    assert programs(prefix) == set()


def test_installs_that_are_killed_or_meet_leave_programs_that_work(prefix: Path, changed_tree: Path) -> None:
    with installing(changed_tree, prefix) as killed:
        until(lambda: list(prefix.glob("lib/runwasi/.new-*/site-packages/runwasi")), bool)
        os.killpg(killed.pid, signal.SIGKILL)
    assert "0.1.0" in output_of(prefix / "bin/runwasi", "--version")
    with installing(changed_tree, prefix) as one, installing(ROOT, prefix) as other:
        assert (one.wait(300), other.wait(300)) == (0, 0)
    (version,) = versions(prefix)  # and nothing unfinished
    shims = [prefix / "bin" / program for program in programs(prefix) if program.startswith("containerd")]
    assert [shim.name for shim in shims if version not in output_of(shim, "-v")] == []


def installing(tree: Path, prefix: Path) -> subprocess.Popen[bytes]:
    command = [f"{tree}/scripts/install", "add", str(prefix)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def output_of(program: Path, flag: str) -> str:
    return subprocess.run([str(program), flag], stdout=subprocess.PIPE, text=True, check=True).stdout
