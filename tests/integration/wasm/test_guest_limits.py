"""A guest's bounds follow the container's limits, whoever changes them, while it runs."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.bundle import Bundle, in_user_namespace
from devtools.components.build import component
from devtools.serving import free_port, script
from devtools.waiting import until
from runwasi.wire.messages.well_known import Any as Packed
from tests.integration.conftest import BundleMaker
from tests.support import wasm
from tests.support.detached import Detached
from tests.support.fifos import reader_of_new_fifo
from tests.support.memory import until_limits_are_applied
from tests.support.runtime import Runtime
from tests.support.shim import Shim, running

MIB = 1 << 20
SHARE = 12
"""MiB of a limit that are the engine's."""


@pytest.fixture(scope="session")
def grower(session_folder: Path) -> bytes:
    """A core module that grows when it is told to."""
    return wasm.grower(session_folder).read_bytes()


class Growing:
    """A container whose guest grows when a file is put into its root."""

    def __init__(self, runtime: Runtime, made: Bundle, container_id: str) -> None:
        self.container = Detached(runtime, made, container_id)
        self._runtime = runtime
        self._answers = 0

    def update(self, mebibytes: int) -> None:
        """Give it another memory limit."""
        resources = {"memory": {"limit": mebibytes * MIB}}
        self._runtime("update", "--resources", "-", self.container.id, stdin=json.dumps(resources).encode())
        if self.container.status == "running":
            self.follow()

    def follow(self) -> None:
        """Wait until it has applied the limits as they are now."""
        until_limits_are_applied(self.container.pid)

    def fill(self) -> int:
        """Have it grow as far as it can, and return how many MiB its memory has then."""
        Path(f"/proc/{self.container.pid}/root/fill").touch(mode=0o666)
        self._answers += 1
        lines = until(self.lines, lambda lines: len(lines) == 1 + self._answers)
        return int(lines[-1].removeprefix("full at ").removesuffix(" MiB"))

    def lines(self) -> list[str]:
        """Return the complete lines of its output so far."""
        return self.container.output.splitlines() if self.container.output.endswith("\n") else []


GrowerMaker = Callable[..., Growing]


@pytest.fixture
def growing(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> GrowerMaker:
    """Make a container of a module; edit may change the bundle before it is created."""

    def make(module: bytes, *args: str, limit: int | None, edit: Callable[[Bundle], object] = id) -> Growing:
        made = bundle(["/app.wasm", *args], files={"/app.wasm": module})
        made.linux.setdefault("resources", {})["memory"] = {"limit": limit * MIB if limit else -1}
        edit(made)
        return Growing(runwasi, made.write(), container_id)

    return make


@pytest.fixture(params=["core", "component"])
def module(request: pytest.FixtureRequest, grower: bytes) -> bytes:
    """The same program as a core module and as a component that the library's own WASI serves."""
    return grower if request.param == "core" else component("grower").read_bytes()


def near(mebibytes: int, limit: int) -> bool:
    """Return whether a memory is as large as a limit allows."""
    return limit - SHARE - 1 <= mebibytes <= limit - SHARE


@pytest.mark.cgroup_v2
def test_a_running_guest_grows_as_far_as_a_raised_limit_lets_it(growing: GrowerMaker, module: bytes) -> None:
    guest = growing(module, "follow", limit=64)
    guest.container.run()
    assert near(guest.fill(), 64)
    guest.update(256)
    assert near(guest.fill(), 256)


@pytest.mark.cgroup_v2
def test_a_lowered_limit_is_a_failed_growth_rather_than_a_kill(growing: GrowerMaker, module: bytes) -> None:
    guest = growing(module, "follow", limit=256)
    guest.container.run()
    until(guest.lines, lambda lines: lines == ["ready"])
    guest.update(64)
    assert near(guest.fill(), 64)
    guest.update(128)
    guest.update(96)
    assert near(guest.fill(), 96)
    assert guest.container.status == "running"


def test_a_guest_that_only_computes_follows_too(growing: GrowerMaker, module: bytes) -> None:
    guest = growing(module, "compute", "200", limit=64)
    guest.container.run()
    until(guest.lines, lambda lines: lines == ["ready"])
    guest.update(256)
    until(guest.lines, lambda lines: lines == ["ready", "reached 200 MiB"])


def test_a_limit_comes_and_goes(growing: GrowerMaker, grower: bytes) -> None:
    guest = growing(grower, "follow", limit=None)
    guest.container.run()
    until(guest.lines, lambda lines: lines == ["ready"])
    guest.update(64)
    assert near(guest.fill(), 64)
    guest.container.runtime("update", "--memory", "-1", "--memory-swap", "-1", guest.container.id)
    guest.container.runtime("update", "--memory", str(128 * MIB), guest.container.id)
    guest.follow()
    assert near(guest.fill(), 128)


@pytest.mark.cgroup_v2
def test_it_follows_whoever_writes_to_the_cgroup(growing: GrowerMaker, grower: bytes) -> None:
    guest = growing(grower, "follow", limit=64)
    guest.container.run()
    assert near(guest.fill(), 64)
    _limit_file(guest.container.pid).write_text(str(96 * MIB))
    guest.follow()
    assert near(guest.fill(), 96)


def _limit_file(pid: int) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")
    return Path(f"/sys/fs/cgroup{path}/memory.max")


@pytest.mark.cgroup_v2
def test_a_guest_cannot_write_to_the_cgroup_files_it_holds(growing: GrowerMaker, grower: bytes) -> None:
    """Not even by root with all capabilities: a guest that broke out is the container's at most."""
    guest = growing(grower, "follow", limit=64)
    guest.container.run()
    until(guest.lines, lambda lines: lines == ["ready"])
    descriptors = Path(f"/proc/{guest.container.pid}/fd")
    (held,) = (path for path in descriptors.iterdir() if "memory." in os.readlink(path))
    name = Path(os.readlink(held)).name
    (folder,) = (path for path in descriptors.iterdir() if path.is_dir() and (path / name).exists())
    for file in (held, folder / "cgroup.procs"):
        with pytest.raises(OSError, match="Read-only file system"):
            os.open(file, os.O_WRONLY)
    with pytest.raises(OSError, match="Read-only file system"):
        (folder / "below").mkdir()


@pytest.mark.cgroup_v2
def test_a_limit_changed_before_the_start_or_during_a_pause_holds_afterwards(
    growing: GrowerMaker, grower: bytes
) -> None:
    guest = growing(grower, "follow", limit=256)
    runtime, identity = guest.container.runtime, guest.container.id
    guest.container.create()
    guest.update(64)
    runtime("start", identity)
    assert near(guest.fill(), 64)
    runtime("pause", identity)
    for limit in (80, 128, 96):
        guest.update(limit)
    runtime("resume", identity)
    guest.follow()
    assert near(guest.fill(), 96)


@pytest.mark.parametrize("kind", ["another user", "a user namespace"])
def test_it_follows_as_whoever_runs_the_guest(growing: GrowerMaker, grower: bytes, kind: str) -> None:
    def edit(made: Bundle) -> None:
        made.process["user"] = {"uid": 1000, "gid": 1000}
        made.rootfs.chmod(0o777)
        if kind == "a user namespace":
            in_user_namespace(made)

    guest = growing(grower, "follow", limit=64, edit=edit)
    guest.container.run()
    assert near(guest.fill(), 64)
    guest.update(128)
    assert near(guest.fill(), 128)


@pytest.mark.cgroup_v2
def test_an_exec_begins_with_the_limits_as_they_are_and_follows_them(
    runwasi: Runtime, bundle: BundleMaker, grower: bytes, container_id: str, folder: Path
) -> None:
    made = bundle(["sleep", "1000"], files={"/app.wasm": grower})
    made.linux.setdefault("resources", {})["memory"] = {"limit": 64 * MIB}
    guest = Growing(runwasi, made.write(), container_id)
    guest.container.run()
    guest.update(256)
    command = runwasi.command("exec", container_id, "/app.wasm", "follow")
    with (made.path / "stdout").open("wb") as output, _ended(subprocess.Popen(command, stdout=output)):
        assert near(guest.fill(), 256)
        guest.update(300)
        until(guest.fill, lambda mebibytes: near(mebibytes, 300))  # the exec's own guest may be told later


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def test_an_exec_is_refused_by_the_current_limit_of_processes(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str
) -> None:
    made = bundle(["sleep", "1000"], files={"/app.wasm": wasi_demo_app})
    made.linux.setdefault("resources", {})["pids"] = {"limit": 1}
    Detached(runwasi, made.write(), container_id).run()
    command = ("exec", container_id, "/app.wasm", "echo", "hello")
    assert "pids limit is 1, but" in runwasi(*command, check=False).stderr
    runwasi("update", "--pids-limit", "10", container_id)
    assert runwasi(*command).stdout == "hello\nexiting\n"


@pytest.mark.cgroup_v2
def test_the_annotation_is_a_bound_of_its_own(growing: GrowerMaker, grower: bytes) -> None:
    def edit(made: Bundle) -> None:
        made.config["annotations"] = {"io.runwasi.memory.max": "32Mi"}

    guest = growing(grower, "follow", limit=64, edit=edit)
    guest.container.run()
    assert guest.fill() in (31, 32)
    guest.update(128)
    assert guest.fill() in (31, 32)


GROW = """
held = []
try:
    while True:
        held.append(b"x" * (1 << 20))
except MemoryError:
    grown = len(held)
    held.clear()
"""
"""Python that tells in `grown` how many MiB it could have."""


class Serving(Growing):
    """A container that serves HTTP on a port of the host's, with one worker."""

    def __init__(self, runtime: Runtime, made: Bundle, container_id: str) -> None:
        self._port = free_port()
        made.process["env"] += [f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{self._port}"]
        made.config["annotations"] = {"io.runwasi.http.workers": "1"}
        made.linux["namespaces"] = [each for each in made.linux["namespaces"] if each["type"] != "network"]
        super().__init__(runtime, made.write(), container_id)

    def request(self, code: str) -> http.client.HTTPConnection:
        """Send a request whose guest runs this Python, and return the connection that the answer will come on."""
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        until(lambda: _connects(client), bool)
        client.request("GET", "/", headers=script(code))
        return client


def _connects(client: http.client.HTTPConnection) -> bool:
    try:
        client.connect()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def serving(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> Serving:
    """A component that serves HTTP, in a container that may have 128 MiB."""
    made = bundle(["/app.wasm"], files={"/app.wasm": component("server").read_bytes()})
    made.linux.setdefault("resources", {})["memory"] = {"limit": 128 * MIB}
    serving = Serving(runwasi, made, container_id)
    serving.container.run()
    return serving


def test_each_request_of_a_server_is_bound_by_the_limit_of_its_time(serving: Serving) -> None:
    def grown() -> int:
        answer = serving.request(GROW + "answer(out, str(grown).encode())").getresponse()
        return int(answer.read())

    before = grown()
    assert before < 128
    serving.update(256)
    assert before + 120 <= grown() <= before + 128
    serving.update(128)
    assert grown() == before


def test_a_request_that_is_under_way_follows_too(serving: Serving) -> None:
    wait = """
    body = begin(out)
    stream = body.write()
    stream.blocking_write_and_flush(b"ready")
    while not os.path.exists("/go"):
        monotonic_clock.subscribe_duration(1_000_000).block()
    """
    tell = """
stream.blocking_write_and_flush(str(grown).encode())
stream.__exit__(None, None, None)
http.OutgoingBody.finish(body, None)
"""
    answer = serving.request(textwrap.dedent(wait) + GROW + tell).getresponse()
    assert answer.read(5) == b"ready"
    serving.update(256)
    Path(f"/proc/{serving.container.pid}/root/go").touch()
    assert 128 < int(answer.read()) < 256


def test_a_component_on_our_own_wasi_follows(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """The component "shell" has sockets, which the library's WASI has not."""
    made = bundle(["/app.wasm"], files={"/app.wasm": component("shell").read_bytes()})
    made.linux.setdefault("resources", {})["memory"] = {"limit": 128 * MIB}
    guest = Growing(runwasi, made.write(), container_id)
    (made.path / "stdin").write_text(
        "print('ready', flush=True)\n"
        "while not os.path.exists('/fill'):\n"
        "    pass\n" + GROW + "print('full at', grown, 'MiB', flush=True)\n"
    )
    with (made.path / "stdin").open() as stdin:
        guest.container.run(stdin=stdin.fileno())
    until(guest.lines, lambda lines: lines == ["ready"])
    guest.update(256)
    assert 128 < guest.fill() < 256


def test_the_shims_update_reaches_the_guest(
    any_shim: Shim, bundle: BundleMaker, grower: bytes, container_id: str, folder: Path
) -> None:
    made = bundle(["/app.wasm", "follow"], files={"/app.wasm": grower})
    made.linux.setdefault("resources", {})["memory"] = {"limit": 64 * MIB}
    with (
        open(reader_of_new_fifo(folder / "out")) as said,
        running(any_shim, container_id, made.write()) as task,
    ):
        pid = task.run(stdout=str(folder / "out"))
        assert next(said) == "ready\n"
        for limit in (64, 256, 300):
            resources = json.dumps({"memory": {"limit": limit * MIB}}).encode()
            task.call("Update", resources=Packed(type_url=_RESOURCES, value=resources))
            until_limits_are_applied(pid)
            Path(f"/proc/{pid}/root/fill").touch()
            assert next(said) == f"full at {limit - SHARE - 1} MiB\n"
        task.call("Kill", signal=9)
        assert task.call("Wait").exit_status == 137
        task.call("Delete")


_RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
