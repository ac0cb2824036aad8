"""A program of a container prints all that it was given, and each line is one that its config.json gives it.

One table serves every position: a container's first process and an exec, by the command line and by a shim in each
mode. Whatever a process newly gets is not on the list, and fails. A process of ours, which waits to be started or
runs a guest, holds a few descriptors more: they are listed too, from outside.
"""

from __future__ import annotations

import os
import re
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from devtools.waiting import until
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime
from tests.support.shim import Shim, running

CAPABILITIES = f"{1 << 29 | 1 << 10 | 1 << 5:016x}"
NOFILE = 7
"""RLIMIT_NOFILE, the one limit that the bundle gives; the others are the caller's."""

GIVEN = {
    "argument": r"/inspector|one",
    "variable": r"PATH=/bin|TERM=xterm|HOME=/",
    "fd": r"[012] flags 0",
    "status": (
        rf"(CapInh|CapAmb):\t0{{16}}|(CapPrm|CapEff|CapBnd):\t{CAPABILITIES}|NoNewPrivs:\t1|Seccomp(_filters)?:\t0"
        r"|Umask:\t0022|[UG]id:(\t0){4}|Groups:\t ?|NS(sid|pgid):\t\d+|Threads:\t1"
    ),
    "mapped": r"/inspector",
    "death-signal": "0",
    "securebits": "0",
    "dumpable": "1",
    "keepcaps": "0",
    "subreaper": "0",
    "timer-slack": "50000",
    "thp-disabled": "0",
    "scheduler": f"0 nice {os.nice(0)} io 0",
    "personality": "0",
    "session": "1 group 1 parent 0",
    "coredump-filter": "0{6}33",
    "cgroup": r"\S+",
    "keyring": r"_ses\.{id}",
}
"""The allowed form of each line; other lines are refused."""

EXPECTED_KINDS = GIVEN.keys() | {"limit", "oom"}


def unexpected(text: str, container_id: str, creator: int) -> list[str]:
    """Return the lines of the inspector that the container's config.json does not explain.

    Limits and the OOM score that it does not set are the creator's, a process.
    """
    lines = text.splitlines()
    assert {line.partition(" ")[0] for line in lines} >= EXPECTED_KINDS, text
    score = Path(f"/proc/{creator}/oom_score_adj").read_text().strip()
    allowed = {"oom": re.escape(score)} | {
        kind: pattern.replace("{id}", re.escape(container_id)) for kind, pattern in GIVEN.items()
    }
    return [
        line
        for kind, _, rest in (line.partition(" ") for line in lines)
        for line in [f"{kind} {rest}"]
        if not (
            is_given_limit(rest, creator)
            if kind == "limit"
            else kind in allowed and re.fullmatch(allowed[kind], rest)
        )
    ]


def is_given_limit(text: str, pid: int) -> bool:
    number, *values = map(int, text.split())
    given = (1024, 1024) if number == NOFILE else resource.prlimit(pid, number)
    return tuple(values) == tuple(given)


@pytest.fixture
def inspecting(bundle: BundleMaker, inspector: bytes) -> Bundle:
    """A bundle whose program prints what it was given."""
    return bundle(["/inspector", "one"], files={"/inspector": inspector})


def test_by_the_command_line(runwasi: Runtime, inspecting: Bundle, container_id: str) -> None:
    done = runwasi("run", "--bundle", inspecting.path, container_id)
    assert unexpected(done.stdout, container_id, os.getpid()) == []


@pytest.fixture
def dirty_caller() -> Iterator[dict[str, object]]:
    """Options of Popen for a caller with descriptors, signals, a session and variables that it must not pass on."""
    readers = [os.pipe() for _ in range(20)]
    fds = [fd for pair in readers for fd in pair]
    yield {"pass_fds": fds, "env": {**os.environ, "SECRET": "of the caller"}, "umask": 0o077}
    for fd in fds:
        os.close(fd)


def test_nothing_of_the_callers_is_passed_on(
    runwasi: Runtime, inspecting: Bundle, container_id: str, dirty_caller: dict[str, object]
) -> None:
    command = runwasi.command("run", "--bundle", inspecting.path, container_id)
    hostile = ["nohup", "sh", "-c", "trap '' USR1 USR2 TERM INT QUIT CHLD; exec \"$@\"", "sh", *command]
    done = subprocess.run(  # type: ignore[call-overload]
        hostile, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, **dirty_caller
    )
    assert unexpected(done.stdout, container_id, os.getpid()) == []


def test_by_exec(runwasi: Runtime, inspecting: Bundle, container_id: str) -> None:
    inspecting.process["args"] = ["sleep", "1000"]
    Detached(runwasi, inspecting.write(), container_id).run()
    done = runwasi("exec", container_id, "/inspector", "one")
    assert unexpected(done.stdout, container_id, os.getpid()) == []


def test_by_a_shim(any_shim: Shim, inspecting: Bundle, container_id: str, folder: Path) -> None:
    output = folder / "output"
    output.touch()
    with running(any_shim, container_id, inspecting) as task:
        task.run(stdout=f"file://{output}")
        assert task.call("Wait").exit_status == 0
        text = until(output.read_text, lambda seen: "\nkeyring " in seen)
        assert unexpected(text, container_id, task.pid) == []
        task.call("Delete")


SOCKET, MODULE, ARTEFACT, NAMESPACE = "a socket", "the module", "compiled code", "the namespace of its view"
LIMIT, CGROUP, ROOT = "its memory limit", "its cgroup", "its root"

FILES = {
    r"socket:\[\d+\]": SOCKET,
    r"mnt:\[\d+\]": NAMESPACE,
    r"/app\.wasm": MODULE,
    r"\S+/modules/[0-9a-f]{64}": ARTEFACT,
    r"(/\S+)?/memory\.(limit_in_bytes|max)": LIMIT,
}


def held_by(pid: int) -> list[str]:
    """Say what each descriptor of a process is, beside its streams."""
    return sorted(_described(pid, number) for number in os.listdir(f"/proc/{pid}/fd") if int(number) > 2)


def _described(pid: int, number: str) -> str:
    path = f"/proc/{pid}/fd/{number}"
    target, found = os.readlink(path), os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        for what, place in (
            (ROOT, f"/proc/{pid}/root"),
            *((CGROUP, folder) for folder in _cgroup_folders(pid)),
        ):
            if os.path.samestat(found, os.stat(place)):
                return what
        return f"the folder {target}"
    return next((what for pattern, what in FILES.items() if re.fullmatch(pattern, target)), target)


def _cgroup_folders(pid: int) -> Iterator[str]:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        folder = f"/sys/fs/cgroup/{controllers}{path}"
        if (number == "0" or controllers == "memory") and os.path.isdir(folder):
            yield folder


def test_a_process_that_waits_to_be_started_holds_only_its_gate(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    waiting = Detached(runwasi, bundle(["true"]), container_id)
    waiting.create()
    assert held_by(waiting.pid) == [SOCKET]


def test_a_guests_process_holds_only_what_the_guest_needs(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, wasi_demo_app: bytes
) -> None:
    made = bundle(["/app.wasm", "daemon"], files={"/app.wasm": wasi_demo_app})
    guest = Detached(runwasi, made, container_id)
    guest.create()
    needed = [ARTEFACT, CGROUP, LIMIT, MODULE, NAMESPACE]
    assert held_by(guest.pid) == sorted([*needed, SOCKET])
    runwasi("start", container_id)
    until(lambda: guest.output, lambda output: output)
    assert held_by(guest.pid) == sorted([*needed, ROOT])
