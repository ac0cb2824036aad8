"""Whatever dies, nothing is left behind and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.ttrpc import CallError, Peer, task_service
from devtools.waiting import until
from runwasi.linux.processes import process_state
from runwasi.wire.messages.options import Options
from runwasi.wire.messages.task import DeleteResponse
from runwasi.wire.messages.types import Mount, RuntimeInfo
from runwasi.wire.messages.well_known import Any
from tests.support.shim import PROGRAMS, EventSink, RunningShim, Shim, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from devtools.bundle import Bundle
    from tests.integration.conftest import BundleMaker

SLEEP = ["sleep", "1000"]


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie may wait a moment for this machine's init."""
    try:
        return process_state(pid) != "Z"
    except ProcessLookupError:
        return False


def until_created(task: RunningShim) -> None:
    task.create()


def until_started(task: RunningShim) -> None:
    task.run()


def until_paused(task: RunningShim) -> None:
    task.run()
    task.call("Pause")


def until_stopped(task: RunningShim) -> None:
    task.run()
    task.call("Kill", signal=9)
    task.call("Wait")


@pytest.mark.own_server
@pytest.mark.parametrize("reach", [until_created, until_started, until_paused, until_stopped])
def test_delete_cleans_up_after_a_killed_shim(
    our_shim: Shim, bundle: BundleMaker, container_id: str, reach: Callable[[RunningShim], None]
) -> None:
    mounted, source = bundle(SLEEP), bundle(SLEEP)
    with running(our_shim, container_id, mounted) as task:
        rootfs = [Mount(type="bind", source=str(source.rootfs), options=["rbind", "rw"])]
        pid = task.create(rootfs=rootfs) if reach is until_created else _run(task, reach, rootfs)
        os.kill(task.pid, signal.SIGKILL)
        assert task.ended()
    done = our_shim.delete(container_id, mounted)
    answer = DeleteResponse.decode(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (answer.pid, answer.exit_status) == (pid, 137)
    assert answer.exited_at is not None
    assert not alive(pid)
    assert not os.path.ismount(mounted.rootfs)
    assert not (Path("/run/containerd/wasmtime") / our_shim.namespace / container_id).exists()
    assert not Path(task.address.removeprefix("unix://")).exists()
    again = our_shim.delete(container_id, mounted)
    assert (again.returncode, DeleteResponse.decode(again.stdout).exit_status) == (0, 137)


def _run(task: RunningShim, reach: Callable[[RunningShim], None], rootfs: list[Mount]) -> int:
    create = task.create
    task.create = lambda **members: create(rootfs=rootfs, **members)  # type: ignore[method-assign]
    reach(task)
    pid: int = task.call("State").pid
    return pid


def test_delete_of_a_container_that_was_never_made_says_how_it_ended(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    done = our_shim.delete(container_id, made)
    assert DeleteResponse.decode(done.stdout).exit_status == 137


@pytest.mark.parametrize("content", [None, b"", b'{"id": "half'])
def test_delete_removes_half_made_state(
    our_shim: Shim, bundle: BundleMaker, container_id: str, content: bytes | None
) -> None:
    state = Path("/run/containerd/wasmtime") / our_shim.namespace / container_id
    state.mkdir(parents=True)
    if content is not None:
        (state / "state.json").write_bytes(content)
    done = our_shim.delete(container_id, bundle(SLEEP))
    assert (done.returncode, done.stderr) == (0, b"")
    assert not state.exists()


def test_a_failing_create_takes_everything_back(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:

    broken, source = bundle(["/no/such/program"]), bundle(SLEEP)
    with running(our_shim, container_id, broken) as task:
        rootfs = [Mount(type="bind", source=str(source.rootfs), options=["rbind"])]
        with pytest.raises(CallError, match="/no/such/program"):
            task.create(rootfs=rootfs)
        assert not os.path.ismount(broken.rootfs)
        assert not (Path("/run/containerd/wasmtime") / our_shim.namespace / container_id).exists()


def test_events_wait_for_containerd_to_come_back(
    our_shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink, folder: Path
) -> None:
    with running(our_shim, container_id, bundle(SLEEP)) as task:
        task.create()
        assert sink.topics(1) == ["create"]
        sink.path.rename(folder / "away")
        sink.drop_connections()
        task.call("Start")
        task.call("Kill", signal=9)
        task.call("Wait")
        (folder / "away").rename(sink.path)
        assert sink.topics(2) == ["start", "exit"]


def test_concurrent_starts_in_a_pod_come_to_one_server(
    our_shim: Shim, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    group, ids, addresses = new_id(), [new_id() for _ in range(4)], []
    bundles = [bundle(SLEEP) for _ in ids]
    for made in bundles:
        made.config["annotations"] = {"io.kubernetes.cri.sandbox-id": group}
        made.write()

    def start(container_id: str, made: Bundle) -> None:
        addresses.append(our_shim.start(container_id, made))

    threads = [threading.Thread(target=start, args=pair) for pair in zip(ids, bundles, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(addresses) == 4
    assert len(set(addresses)) == 1


@pytest.mark.own_server
def test_the_socket_of_a_killed_server_is_taken_over(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    with running(our_shim, container_id, made) as task:
        os.kill(task.pid, signal.SIGKILL)
        assert task.ended()
    with running(our_shim, container_id, made) as again:
        assert again.address == task.address
        assert again.pid != task.pid


@pytest.mark.own_server
def test_the_server_is_as_containerd_expects(our_shim: Shim, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(SLEEP)
    with running(our_shim, container_id, made) as task:
        proc = Path(f"/proc/{task.pid}")
        assert task.address.startswith("unix:///run/containerd/s/")
        assert (made.path / "address").read_text() == task.address
        socket = Path(task.address.removeprefix("unix://"))
        assert socket.stat().st_mode & 0o777 == 0o600
        assert socket.parent.stat().st_mode & 0o077 == 0  # whichever runtime made it first
        assert (proc / "cwd").readlink() == made.path
        assert [str((proc / "fd" / fd).readlink()) for fd in "012"] == [
            *("/dev/null", "/dev/null", str(made.path / "log")),
        ]
        ours = int(Path("/proc/self/oom_score_adj").read_text())
        assert int((proc / "oom_score_adj").read_text()) == ours + 1
        assert os.getsid(task.pid) == task.pid


def test_the_servers_interpreter_cannot_be_written_through_proc(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(SLEEP)) as task:
        assert os.statvfs(f"/proc/{task.pid}/exe").f_flag & os.ST_RDONLY


def test_the_log_tells_of_a_poststop_hook_that_fails_after_a_create_that_failed(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    made.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}], "poststop": [{"path": "/bin/false"}]}
    with running(our_shim, container_id, made.write()) as task:
        with pytest.raises(CallError, match="error running createRuntime hook #0: /bin/false"):
            task.create()
        assert "error running poststop hook #0: /bin/false" in our_shim.log(made)


def test_bootstrap_parameters_are_answered_in_kind(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    answer = our_shim.bootstrap(container_id, bundle(SLEEP), folder)
    assert (answer.version, answer.protocol) == (3, "ttrpc")
    assert answer.address.startswith(f"unix://{folder}/")
    with Peer(answer.address) as peer:
        task_service(peer, "v3").call("Shutdown", id=container_id)


def test_options_alone_are_not_taken_for_bootstrap_parameters(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    options = Any(type_url="containerd.runc.v1.Options", value=Options(systemd_cgroup=True).encode())
    assert our_shim.start(container_id, bundle(SLEEP), stdin=options.encode()).startswith("unix:///")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-namespace", "x", "-id", "y"], "unknown action"),
        (["-id", "y", "start"], "namespace cannot be empty"),
        (["-frobnicate", "start"], "flag provided but not defined: -frobnicate"),
        (["-id"], "flag needs an argument: -id"),
    ],
)
def test_a_wrong_command_line_is_told_on_stderr(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        [PROGRAMS["runwasi"], *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert says in done.stderr


def test_version_and_info_are_printed() -> None:
    version = subprocess.run([PROGRAMS["runwasi"], "-v"], capture_output=True, text=True, check=True).stdout
    assert "Version:" in version
    info = subprocess.run(
        [PROGRAMS["runwasi"], "-info"], stdin=subprocess.DEVNULL, capture_output=True, check=True
    ).stdout
    decoded = RuntimeInfo.decode(info)
    assert decoded.name == "io.containerd.wasmtime.v1"
    assert decoded.features is not None
    assert b"ociVersionMax" in decoded.features.value


@pytest.mark.own_server
def test_delete_cleans_up_after_a_shim_killed_in_the_middle_of_create(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    made, reached = bundle(SLEEP), folder / "reached"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"touch {reached}; sleep 1000"], "env": ["PATH=/bin"]}
    made.config["hooks"] = {"createContainer": [hook]}
    made.write()
    with running(our_shim, container_id, made) as task:
        task.tasks.begin("Create", id=task.id, bundle=str(made.path))
        until(reached.exists, bool)
        state = Path("/run/containerd/wasmtime") / our_shim.namespace / container_id
        pid = json.loads((state / "state.json").read_text())["pid"]
        os.kill(task.pid, signal.SIGKILL)
        assert task.ended()
    done = our_shim.delete(container_id, made)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not alive(pid)
    assert not state.exists()


@pytest.mark.own_server
def test_delete_cleans_up_an_exec_after_a_killed_shim(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    document = {"args": SLEEP, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    with running(our_shim, container_id, made) as task:
        task.run()
        task.call("Exec", exec_id="one", spec=Any(value=json.dumps(document).encode()))
        pid = task.call("Start", exec_id="one").pid
        os.kill(task.pid, signal.SIGKILL)
        assert task.ended()
    assert our_shim.delete(container_id, made).returncode == 0
    assert not alive(pid)


_SHIM = Path(PROGRAMS["runwasi"])
_DAEMON = _SHIM.with_name("containerd-wasmtimed")


@pytest.mark.parametrize("program", [_SHIM, _DAEMON], ids=lambda program: program.name)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_a_shim_and_a_daemon_tell_how_they_are_called(program: Path, flag: str) -> None:
    told = subprocess.check_output([program, flag], text=True)
    assert f"usage: {program.name} " in told
    assert "-address SOCKET" in told


def test_a_daemon_refuses_an_action_and_prints_its_version() -> None:
    done = subprocess.run([_DAEMON, "start"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "containerd-wasmtimed: unknown action 'start': the daemon takes none\n"
    assert "Version:" in subprocess.check_output([_DAEMON, "-v"], text=True)


def test_delete_ends_a_server_whose_address_nobody_could_read(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            our_shim.command(container_id, "start"),
            cwd=made.path,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    socket = Path((made.path / "address").read_text().removeprefix("unix://"))
    assert socket.exists()
    assert our_shim.delete(container_id, made).returncode == 0
    until(socket.exists, lambda exists: not exists)
