"""The node daemon and its clients: who is served, by what, and what happens when the daemon is not up to it."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.daemon import Daemon
from devtools.places import BIN
from devtools.processes import parent_of
from devtools.ttrpc import Peer, task_service
from devtools.waiting import until
from runwasi import __version__
from runwasi.linux import cgroups
from runwasi.shim.client import packet
from runwasi.shim.client.packet import CallPacket
from runwasi.wire.messages import task_types
from tests.support.cgroups import removed_after
from tests.support.node_daemon import connected, running_daemon
from tests.support.shim import EventSink, Shim, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import BundleMaker

SLEEP = ["sleep", "1000"]


@pytest.fixture(params=["native", "python"])
def shim(
    request: pytest.FixtureRequest, session_name: str, sink: EventSink, python_clients: Path
) -> Iterator[Shim]:
    """Both clients in turn."""
    programs = BIN if request.param == "native" else python_clients
    shim = Shim("runwasi", session_name, sink, programs)
    yield shim
    shim.clean()


def test_a_pod_is_served_by_a_fork_of_the_daemon(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    with running(shim, container_id, bundle(["sh", "-c", "exit 3"])) as task:
        assert parent_of(task.pid) == daemon.pid
        assert os.getsid(task.pid) == task.pid
        assert os.statvfs(f"/proc/{task.pid}/exe").f_flag & os.ST_RDONLY
        task.run()
        assert task.call("Wait").exit_status == 3
        task.call("Delete")
        assert sink.topics(4) == ["create", "start", "exit", "delete"]


def test_a_server_has_what_containerd_would_have_given_it(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(SLEEP)
    monkeypatch.setenv("FROM_CONTAINERD", "a value")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    Path("/proc/self/oom_score_adj").write_text("77")
    try:
        with running(shim, container_id, made) as task:
            proc = Path(f"/proc/{task.pid}")
            assert (proc / "cwd").resolve() == made.path
            assert (proc / "oom_score_adj").read_text() == "78\n"
            assert "Umask:\t0027" in (proc / "status").read_text()
            assert resource.prlimit(task.pid, resource.RLIMIT_NOFILE) == (soft - 1, hard)
            assert (proc / "cgroup").read_text() == Path("/proc/self/cgroup").read_text()
            assert [os.readlink(proc / f"fd/{fd}") for fd in range(3)] == [
                *["/dev/null"] * 2,
                str(made.path / "log"),
            ]
    finally:
        os.umask(before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        Path("/proc/self/oom_score_adj").write_text("0")


def test_a_server_is_in_containerds_cgroup_and_not_in_the_daemons(
    shim: Shim,
    bundle: BundleMaker,
    container_id: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with removed_after(cgroups.cgroup_at(f"/{container_id}")) as unit:
        unit.create()
        with (
            running_daemon(folder, monkeypatch, preexec_fn=lambda: unit.enter(0)) as daemon,
            running(shim, container_id, bundle(SLEEP)) as task,
        ):
            assert parent_of(task.pid) == daemon.pid
            own = Path("/proc/self/cgroup").read_text()
            assert Path(f"/proc/{daemon.pid}/cgroup").read_text() != own
            assert Path(f"/proc/{task.pid}/cgroup").read_text() == own


def test_pods_outlive_a_killed_daemon(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(shim, container_id, bundle(SLEEP)) as task:
        task.run()
        daemon.stop(signal.SIGKILL)
        assert task.call("State").status == task_types.RUNNING
        task.call("Kill", signal=9)
        assert task.call("Wait").exit_status == 137
        task.call("Delete")


def test_containers_of_one_pod_share_a_server(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    first, second = bundle(SLEEP), bundle(SLEEP)
    for made in (first, second):
        made.config["annotations"] = {"io.kubernetes.cri.sandbox-id": container_id}
        made.write()
    address = shim.start(container_id, first)
    assert shim.start(f"{container_id}-2", second) == address


def test_delete_after_a_crash_goes_through_the_daemon(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    with running(shim, container_id, made) as task:
        pid = task.run()
        os.kill(task.pid, signal.SIGKILL)
        assert task.ended()
        done = shim.delete(container_id, made)
        assert (done.returncode, done.stderr) == (0, b"")
        until(Path(f"/proc/{pid}").exists, lambda there: not there)  # whoever inherits it has reaped it
        assert not Path(f"/run/containerd/wasmtime/{shim.namespace}/{container_id}").exists()


def test_the_daemon_reports_failures_in_the_launchers_words(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shim.command("x")[0]
    broken = bundle(SLEEP)
    (broken.path / "config.json").write_text('{"io.kubernetes.cri.sandbox-id": ')

    def output(*arguments: str) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            [program, *arguments],
            cwd=broken.path,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    calls = (
        ("-v",),
        ("-h",),
        ("-info",),
        ("start",),
        ("-namespace", "x", "stop"),
        ("-unknown",),
        ("-namespace", shim.namespace, "-id", "x", "-address", "/a", "start"),
    )
    warm = [output(*call) for call in calls]
    monkeypatch.setenv("RUNWASI_DAEMON", "off")
    assert warm == [output(*call) for call in calls]
    assert [status for status, _, _ in warm] == [0, 0, 0, 1, 1, 1, 1]


def test_a_caller_in_another_mount_namespace_does_without_the_daemon(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    plain = shim.command
    shim.command = lambda *arguments: ["unshare", "--mount", *plain(*arguments)]  # type: ignore[method-assign]
    with running(shim, container_id, made) as task:
        assert parent_of(task.pid) != daemon.pid
        own, ours = (os.readlink(f"/proc/{pid}/ns/mnt") for pid in (task.pid, daemon.pid))
        assert own != ours


def test_a_daemon_of_another_version_is_not_used(
    shim: Shim, bundle: BundleMaker, container_id: str, folder: Path, daemon: Daemon
) -> None:
    other = CallPacket("0.0.other", "containerd-shim-wasmtime-v1", ["-v"], {}, b"")
    with connected(daemon) as peer:
        send(peer, other.encode())
        assert [packet.read_reply(peer.recv(100))[0] for _ in range(2)] == [packet.TAKEN, packet.COLD]


def test_a_daemon_that_hangs_delays_one_start_by_the_deadline(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, new_id: object, container_id: str
) -> None:
    bundles = [bundle(SLEEP) for _ in range(3)]
    daemon.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with running(shim, container_id, bundles[0]) as task:
        waited = time.monotonic() - began
        assert waited >= packet.TAKEN_SECONDS
        assert parent_of(task.pid) != daemon.pid
        assert daemon.note.exists()
    with running(shim, f"{container_id}-2", bundles[1]) as task:
        assert parent_of(task.pid) != daemon.pid
    daemon.process.send_signal(signal.SIGCONT)
    until(daemon.note.exists, lambda there: not there)
    with running(shim, f"{container_id}-3", bundles[2]) as task:
        assert parent_of(task.pid) == daemon.pid


def test_a_late_daemon_does_not_carry_out_what_was_given_up(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    with running(shim, container_id, made) as task:
        pid = task.run()
        daemon.process.send_signal(signal.SIGSTOP)
        with connected(daemon) as peer:
            arguments = ["-namespace", shim.namespace, "-id", container_id, "-address", "/a"]
            call = CallPacket(__version__, "containerd-shim-wasmtime-v1", [*arguments, "delete"], {}, b"")
            send(peer, call.encode(), folder=made.path)
            peer.shutdown(socket.SHUT_RD)
            daemon.process.send_signal(signal.SIGCONT)
            peer.settimeout(20)
            with pytest.raises(OSError, match=r"reset|Broken"):  # it has closed
                until(lambda: peer.send(b"x"), lambda _: False)
        assert Path(f"/proc/{pid}").exists()
        assert task.call("State").status == task_types.RUNNING


def send(peer: socket.socket, data: bytes, *, count: int = 1, folder: Path = Path("/")) -> None:
    fd = os.open(folder, os.O_PATH)
    socket.send_fds(peer, [data], [fd] * count)
    os.close(fd)


def test_peers_that_say_nothing_or_nonsense_hold_up_nobody(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    fds = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    good = CallPacket(__version__, "containerd-shim-wasmtime-v1", ["-v"], {}, b"").encode()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(daemon))
        for data, count in (
            (b"x", 1),
            (good[:20], 1),
            (good, 0),
            (good, 3),
            (packet.MAGIC + b"\xff" * 64, 1),
        ):
            peer = stack.enter_context(connected(daemon))
            send(peer, data, count=count)
            assert peer.recv(100) == b""
        with running(shim, container_id, bundle(SLEEP)) as task:
            assert parent_of(task.pid) == daemon.pid
        until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")), lambda number: number == fds)


def test_another_user_is_not_heard(daemon: Daemon) -> None:
    daemon.path.chmod(0o666)
    code = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        f"sock.connect({str(daemon.path)!r})\n"
        "sys.exit(sock.recv(1) != b'')"
    )
    folder = daemon.path.parent
    while folder != folder.parent and folder.name != "tmp":
        folder.chmod(0o711)
        folder = folder.parent
    subprocess.run(["python3", "-c", code], user=65534, group=65534, check=True, timeout=20, cwd="/")


@pytest.mark.parametrize("left", [0, 1])
def test_a_daemon_without_descriptors_left_serves_on_afterwards(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str, left: int
) -> None:
    """Also whoever calls while it rests, which is shorter than a client waits."""
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + left, hard))
    made = bundle(SLEEP)
    with connected(daemon) as peer:
        assert daemon.process.stderr is not None
        assert b"cannot accept" in daemon.process.stderr.readline()
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))
        send(peer, CallPacket(__version__, "containerd-shim-wasmtime-v1", ["-v"], {}, b"").encode())
        assert packet.read_reply(peer.recv(100))[0] == packet.TAKEN
    with running(shim, container_id, made) as task:
        assert parent_of(task.pid) == daemon.pid


def test_a_daemon_that_ends_answers_who_has_asked(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    daemon.process.send_signal(signal.SIGSTOP)
    program = shim.command(container_id, "start")
    (made.path / "log").parent.mkdir(exist_ok=True)
    starting = subprocess.Popen(
        program, cwd=made.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    until(lambda: waiting_clients(daemon.path), bool)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGCONT)
    address = starting.communicate(timeout=20)[0].decode()
    assert daemon.process.wait(20) == 0
    assert not daemon.path.exists()
    with Peer(address) as peer:
        tasks = task_service(peer)
        assert tasks.call("Connect", id=container_id).shim_pid
        tasks.call("Shutdown", id=container_id)


def waiting_clients(path: Path) -> bool:
    """Return whether a client waits to be accepted by the daemon. Source: /proc/net/unix, state 02."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(line[5] == "02" for line in lines if line[-1] == str(path))


def test_a_daemon_that_nobody_needs_ends(folder: Path) -> None:
    daemon = Daemon(folder, "-idle", "0.2")
    assert daemon.process.wait(20) == 0
    assert not daemon.path.exists()
    daemon.stop()


def test_a_service_manager_hears_that_the_daemon_is_ready_alive_and_ending(folder: Path) -> None:
    path = folder / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(str(path))
        daemon = Daemon(folder, env={**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "100000"})
        heard = [manager.recv(100) for _ in range(4)]
        assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        daemon.stop()
        until(lambda: manager.recv(100), lambda said: said == b"STOPPING=1")


def test_a_service_managers_socket_is_used_and_left_to_it(
    folder: Path, shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "manager" / "manager.sock"
    path.parent.mkdir(0o711)
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(path))
    monkeypatch.setenv("RUNWASI_DAEMON", "managed")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        listener.bind(str(path))
        listener.listen(16)
        manager.bind(str(folder / "notify.sock"))
        manager.settimeout(20)

        fd = listener.fileno()
        passing = (
            f"import os; os.dup2({fd}, 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
            f"os.execv('{BIN}/containerd-wasmtimed', ['daemon', '-address', '{path}'])"
        )
        daemon = subprocess.Popen(
            [sys.executable, "-c", passing],
            env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify.sock")},
            stdin=subprocess.DEVNULL,
            pass_fds=(fd,),
        )
        try:
            assert manager.recv(100) == b"READY=1"
            with running(shim, container_id, bundle(SLEEP)) as task:
                assert parent_of(task.pid) == daemon.pid
        finally:
            daemon.terminate()
            daemon.wait(20)
    assert path.exists()


def daemon_at(path: Path) -> int:
    """The pid of the daemon that listens there, 0 for none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        try:
            peer.connect(str(path))
        except OSError:
            return 0
        return int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


def test_the_first_launcher_leaves_a_daemon_behind(
    folder: Path, shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "manager" / "manager.sock"
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(path))
    monkeypatch.delenv("RUNWASI_DAEMON")
    with running(shim, f"{container_id}-1", bundle(SLEEP)), running(shim, f"{container_id}-2", bundle(SLEEP)):
        daemon = until(lambda: daemon_at(path), bool)
        pidfd = os.pidfd_open(daemon)
        try:
            with running(shim, f"{container_id}-3", bundle(SLEEP)) as task:
                assert parent_of(task.pid) == daemon
            assert os.readlink(f"/proc/{daemon}/cwd") == "/"
            assert os.getsid(daemon) == daemon
            assert path.with_name("manager.sock.log").stat().st_mode & 0o777 == 0o600
        finally:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            select.select([pidfd], [], [], 20)
            os.close(pidfd)


@pytest.mark.parametrize("wish", ["off", "managed", "configured", "broken"])
def test_no_daemon_is_left_where_none_is_wanted(
    folder: Path,
    shim: Shim,
    bundle: BundleMaker,
    container_id: str,
    monkeypatch: pytest.MonkeyPatch,
    wish: str,
) -> None:
    path = folder / "manager" / "manager.sock"
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(path))
    monkeypatch.setenv("RUNWASI_DAEMON", wish)
    if wish in ("configured", "broken"):
        configuration = folder / "config.toml"
        configuration.write_text("leave_daemon = false" if wish == "configured" else "leave_daemon = 1")
        monkeypatch.setenv("RUNWASI_CONFIG", str(configuration))
    with running(shim, container_id, bundle(SLEEP)):
        assert not path.parent.exists()
