"""Whoever reaches a pod's socket makes every call of its services with every bad argument, and speaks ttrpc badly.

Only root reaches the socket. Even so no call may have more than its answer: the server serves on, the pod's
containers live, and nothing is made outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devtools.ttrpc import CallError, Methods, Peer, task_service
from devtools.waiting import until
from runwasi.wire.codec import BOOL, BYTES, DOUBLE, STRING, Message
from runwasi.wire.messages.options import Options
from runwasi.wire.messages.task import TASK_METHODS
from runwasi.wire.messages.task_types import RUNNING
from runwasi.wire.messages.ttrpc import Request
from runwasi.wire.messages.types import Mount
from runwasi.wire.messages.well_known import Any as AnyMessage
from runwasi.wire.ttrpc_frames import DATA, HEADER, MAX_LENGTH, REQUEST, RESPONSE, frame
from tests.integration.conftest import BundleMaker
from tests.support.node_daemon import running_daemon
from tests.support.shim import EventSink, RunningShim, Shim, running

_PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_LONG = "x" * 5000
_TEXTS = (
    "",
    ".",
    "..",
    "/",
    "a/b",
    "../../outside/file",
    "a\0b",
    "a\nb",
    _LONG,
    "/dev/full",
    "binary://",
    "binary://[",
    "binary:///%00",
    "file://",
    "%zz:",
)
_NUMBERS = (1, 65, 1 << 16, (1 << 31) - 1, (1 << 32) - 1, (1 << 64) - 1)
_SIZES = (
    b"",
    b"\xff" * 9,
    b"{",
    b"[" * 100_000,
    b'{"args":["/bin/true"],"cwd":"/","user":{"uid":-1}}',
    b'{"a":' * 1000,
)
_ANYS = tuple(
    AnyMessage(type_url=url, value=value)
    for url in ("", _PROCESS, "runtimeoptions.v1.Options", _LONG)
    for value in _SIZES
)
_OPTIONS = tuple(
    AnyMessage(type_url=Options.NAME, value=Options(root=text, criu_work_path=text, io_uid=1 << 31).encode())
    for text in ("\0", "a\0b", "/dev/full", "/dev/full/below")
)
_MOUNTS = (
    Mount(type="bind", source="/nowhere", target=""),
    Mount(type="bind", source="{outside}", target="../../outside", options=["bind"]),
    Mount(type="no-such-type", source="a\0b", options=["ro=" + _LONG]),
    Mount(type="overlay", source="overlay", options=["lowerdir=" + _LONG, "upperdir=/nowhere"]),
)


class Served(NamedTuple):
    """A pod under attack: its server, a victim of the attacker's calls, and a neighbour of another pod."""

    pod: RunningShim
    neighbour: RunningShim
    outside: Path

    def look(self) -> tuple[Counter[str], list[str], bytes]:
        """Return what no call may change: the server's descriptors, and what is outside."""
        kinds: Counter[str] = Counter()
        for fd in Path(f"/proc/{self.pod.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                kinds[os.readlink(fd).partition("[")[0]] += 1
        return kinds, sorted(os.listdir(self.outside)), (self.outside / "file").read_bytes()

    def has_no_more_than(self, before: tuple[Counter[str], list[str], bytes]) -> None:
        """Wait until everything is closed that was not open before; nothing outside may differ."""
        until(lambda: self.look()[0] - before[0], lambda more: not more, seconds=20)
        assert self.look()[1:] == before[1:]

    def check(self) -> None:
        """Have the pod and its neighbour answer."""
        for task in (self.pod, self.neighbour):
            with Peer(task.address) as peer:
                assert task_service(peer).call("State", id=task.id).status == RUNNING


@pytest.fixture(params=["cold", "shared"])
def served(
    request: pytest.FixtureRequest,
    session_name: str,
    sink: EventSink,
    bundle: BundleMaker,
    container_id: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Served]:
    """A pod by a server of its own, and one by the daemon."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "file").write_text("of the host")
    with contextlib.ExitStack() as stack:
        if request.param == "shared":
            stack.enter_context(running_daemon(folder, monkeypatch))
        shim = Shim("shared" if request.param == "shared" else "runwasi", session_name, sink)
        stack.callback(shim.clean)
        pods = []
        for number in range(2):
            made = bundle(["sleep", "1000"])
            pods.append(stack.enter_context(running(shim, f"{container_id}-{number}", made)))
            pods[-1].run()
        yield Served(pods[0], pods[1], outside)
        for pod in pods:
            faults = [line for line in shim.log(pod.bundle).splitlines() if "traceback" in line]
            assert faults == []


def values_of(kind: Any, outside: Path) -> Iterator[object]:
    """Yield the bad values of a kind of field."""
    if isinstance(kind, list):
        element = kind[0]
        yield from ([value] for value in (_MOUNTS if element is Mount else values_of(element, outside)))
    elif isinstance(kind, dict):
        yield from ({text: text} for text in _TEXTS)
    elif kind == STRING:
        yield from (*_TEXTS, str(outside), str(outside / "file"))
    elif kind == BYTES:
        yield from _SIZES
    elif kind == BOOL:
        yield True
    elif kind is AnyMessage:
        yield from (*_ANYS, *_OPTIONS)
    elif kind == DOUBLE:
        yield from (float("inf"), float("nan"))
    elif isinstance(kind, type) and issubclass(kind, Message):
        yield kind()
    else:
        yield from _NUMBERS


def hostile_calls(pod: RunningShim, outside: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every method with nothing given, and with each of its members in turn being bad."""
    good = ("/", str(outside))
    for method, (request, _) in TASK_METHODS.items():
        yield method, {}
        for base in bases(method, pod):
            for _, name, kind in request.FIELDS:
                for value in values_of(kind, outside):
                    if value == getattr(request, name) or (method == "Checkpoint" and value in good):
                        continue  # no other call than before; a folder that is as good as any
                    yield method, {**base, name: value}


def bases(method: str, pod: RunningShim) -> list[dict[str, object]]:
    """Return calls of a method whose arguments are good."""
    if method == "Create":
        create: dict[str, object] = {"id": f"{pod.id}-new", "bundle": str(pod.bundle.path)}
        return [create, {**create, "terminal": True}]
    if method == "Exec":
        spec = AnyMessage(
            type_url=_PROCESS, value=json.dumps({**pod.bundle.process, "args": ["true"]}).encode()
        )
        call: dict[str, object] = {"id": pod.id, "exec_id": "new", "spec": spec}
        return [call, {**call, "terminal": True}]
    return [{"id": pod.id, "exec_id": "none"} if method in ("Kill", "Start", "Delete") else {"id": pod.id}]


def test_every_call_with_every_bad_argument_gets_an_answer(served: Served) -> None:
    warm_up(served.pod)
    before = served.look()
    outcomes: dict[str, list[int]] = {}
    for method, members in hostile_calls(served.pod, served.outside):
        outcomes.setdefault(method, []).append(attack(served.pod.tasks, method, members))
    print({method: (len(codes), sorted(set(codes))) for method, codes in outcomes.items()})
    served.check()
    served.has_no_more_than(before)


def warm_up(pod: RunningShim) -> None:
    """Have the server keep what it keeps once it has needed it."""
    for method in ("Create", "Exec"):
        for members in bases(method, pod):
            assert attack(pod.tasks, method, members) == 0
    outcome(pod.tasks, "Create", {**bases("Create", pod)[0], "rootfs": _MOUNTS[:1]})


def attack(tasks: Methods, method: str, members: dict[str, object]) -> int:
    """Make a call and return the code of its answer; end what it began."""
    code = outcome(tasks, method, members)
    if code or method not in ("Create", "Exec", "Pause"):
        return code
    if method == "Pause":
        return outcome(tasks, "Resume", members)
    names: dict[str, Any] = {name: members[name] for name in members.keys() & {"id", "exec_id"}}
    if method == "Exec" and not outcome(tasks, "Start", names):
        tasks.call("Wait", **names)
    elif method == "Create":
        tasks.call("Kill", signal=9, **names)
        tasks.call("Wait", **names)
    tasks.call("Delete", **names)
    return 0


def outcome(methods: Methods, method: str, members: dict[str, object]) -> int:
    """Make a call and return the code of its answer."""
    try:
        methods.call(method, timeout_nano=5_000_000_000, **members)
    except CallError as error:
        return error.code
    return 0


REQUEST_BODY = Request(service="containerd.task.v2.Task", method="Connect").encode()
FRAMES = {
    "nothing": b"",
    "half a header": HEADER.pack(5, 1, REQUEST, 0)[:7],
    "half a body": frame(1, REQUEST, REQUEST_BODY)[:-3],
    "noise": bytes(range(256)) * 300,
    "a length that is a lie": HEADER.pack((1 << 32) - 1, 1, REQUEST, 0) + REQUEST_BODY,
    "a body one byte too long": frame(1, REQUEST, b"x" * (MAX_LENGTH + 1)),
    "a body that is no request": frame(1, REQUEST, b"\xff" * 100),
    "no service": frame(1, REQUEST, b""),
    "a service that is not there": frame(1, REQUEST, Request(service="x" * 9999, method="\0").encode()),
    "streams that fall": b"".join(frame(stream, REQUEST, REQUEST_BODY) for stream in (9, 7, 7, 1, 0, 2)),
    "streams at the end": b"".join(frame(stream, REQUEST, REQUEST_BODY) for stream in ((1 << 32) - 1, 1)),
    "kinds of others": b"".join(
        frame(2 * kind + 1, kind, REQUEST_BODY) for kind in (0, RESPONSE, DATA, 4, 255)
    ),
    "flags": HEADER.pack(len(REQUEST_BODY), 1, REQUEST, 255) + REQUEST_BODY,
    "requests of which nobody reads the answers": b"".join(
        frame(2 * i + 1, REQUEST, REQUEST_BODY) for i in range(5000)
    ),
    "HTTP": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("ending", ["stays", "half closes", "closes"])
def test_bad_frames_hold_up_nobody(served: Served, ending: str) -> None:
    before = served.look()
    memory = resident(served.pod.pid)
    with contextlib.ExitStack() as stack:
        for data in FRAMES.values():
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(served.pod.address.removeprefix("unix://"))
            peer.settimeout(1)
            with contextlib.suppress(OSError):  # refused half-way
                peer.sendall(data)
            if ending == "half closes":
                peer.shutdown(socket.SHUT_WR)
            elif ending == "closes":
                peer.close()
            served.check()
    assert resident(served.pod.pid) < memory + (64 << 10)
    served.has_no_more_than(before)


def test_descriptors_that_nobody_asked_for_are_dropped(served: Served) -> None:
    before = served.look()
    with socket.socket(socket.AF_UNIX) as peer, socket.socket(socket.AF_UNIX) as carried:
        peer.connect(served.pod.address.removeprefix("unix://"))
        carried.connect(served.pod.address.removeprefix("unix://"))
        with (served.outside / "file").open("rb") as file:
            fds = [file.fileno(), carried.fileno(), peer.fileno()] * 80
            for stream in range(1, 60, 2):
                socket.send_fds(peer, [frame(stream, REQUEST, REQUEST_BODY)], fds)
        served.check()
    served.has_no_more_than(before)


def test_a_peer_that_sends_a_byte_at_a_time_holds_up_nobody(served: Served) -> None:
    before = served.look()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(40)]
        for peer in peers:
            peer.connect(served.pod.address.removeprefix("unix://"))
        for byte in frame(1, REQUEST, REQUEST_BODY)[:-1]:
            for peer in peers:
                peer.sendall(bytes([byte]))
        served.check()
    served.has_no_more_than(before)


def resident(pid: int) -> int:
    """Return how many KiB of a process are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
