"""A daemon that cannot take over begins again, with all that it was handed: each in a process of its own."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from runwasi.startup.again import ATTEMPTS

if TYPE_CHECKING:
    from pathlib import Path

_NEXT = f"""\
#!{sys.executable} -IS
import json, os, resource, signal, sys

def is_null(fd):
    try:
        return os.path.samestat(os.fstat(fd), os.stat(os.devnull))
    except OSError:
        return False

file = int(sys.argv[sys.argv.index("-handover") + 1])
print(json.dumps({{
    "failures": os.lseek(file, 0, os.SEEK_CUR),
    "state": json.loads(os.pread(file, 1 << 16, 0)),
    "environment": dict(os.environ),
    "pending": sorted(signal.sigpending()),
    "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
    "open": [fd for fd in range(3, 100) if is_null(fd)],
}}))
"""
"""The program that begins again: it says what it was handed."""

_DAEMON = """
import fcntl, json, os, resource, signal, sys
from runwasi.shim.daemon import node_daemon
from runwasi.shim.daemon.node_daemon import Daemon
from runwasi.shim.daemon.pods import PodsNotTakenOver

class Engine:
    name = "wasmtime"
    load = lambda self: None

def opened(number=3):
    fd = fcntl.fcntl(0, fcntl.F_DUPFD, number)
    os.set_inheritable(fd, True)
    return fd

def take_over(failures, **state):
    file = os.memfd_create("handover", 0)
    os.write(file, json.dumps(state).encode())
    os.lseek(file, failures, os.SEEK_SET)
    sys.argv[1:] = ["-handover", str(file), "-address", sys.argv[0] + ".sock", "-program", sys.argv[0]]
    node_daemon.serve(Engine())

def failing(error):
    def prepare(self, state, *, strict):
        raise error
    return prepare

sys.argv.pop(0)
"""


def _begun_again(folder: Path, daemon: str) -> dict[str, Any]:
    """Run a daemon that fails, and return what the next one was handed."""
    program = folder / "program"
    program.write_text(_NEXT)
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", _DAEMON + daemon, str(program)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    handed: dict[str, Any] = json.loads(done.stdout)
    return handed


def test_it_keeps_what_the_service_manager_passed(tmp_path: Path) -> None:
    variables = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "60000000",
        "LISTEN_FDS": "1",
    }
    handed = _begun_again(
        tmp_path,
        f"""
os.environ.update({variables!r}, LISTEN_PID=str(os.getpid()))
Daemon.prepare = failing(RuntimeError())
listener = opened()
take_over(0, listener=listener, fds=[listener])
""",
    )
    assert variables.items() <= handed["environment"].items()
    assert "LISTEN_PID" in handed["environment"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_meanwhile_is_for_the_next_one(tmp_path: Path, number: signal.Signals) -> None:
    handed = _begun_again(
        tmp_path,
        f"""
def rehearse(*_):
    os.kill(os.getpid(), {int(number)})
    return False

node_daemon.rehearsal.rehearse = rehearse
listener = opened()
take_over(0, listener=listener, fds=[listener])
""",
    )
    assert handed["failures"] == 1
    assert handed["pending"] == [number]


@pytest.mark.parametrize("failures", [ATTEMPTS - 2, ATTEMPTS - 1])
@pytest.mark.parametrize("noted", [True, False], ids=["noted", "as an earlier version wrote it"])
def test_one_attempt_follows_a_drop_of_pods(tmp_path: Path, failures: int, noted: bool) -> None:
    handed = _begun_again(
        tmp_path,
        f"""
listener, *fds = (opened() for _ in range(5))
pods = [{{"server": {{"listener": fds[i], "connections": [{{"fd": fds[i + 1]}}]}}}} for i in (0, 2)]
if {noted}:
    for i, pod in enumerate(pods):
        pod["fds"] = fds[2 * i:2 * i + 2]
Daemon.prepare = failing(PodsNotTakenOver(pods[:1]))
take_over({failures}, listener=listener, fds=[listener, *fds], pods=pods)
""",
    )
    assert handed["failures"] == ATTEMPTS - 1
    (left,) = (pod["server"] for pod in handed["state"]["pods"])
    kept = [left["listener"], left["connections"][0]["fd"]]
    assert handed["state"]["fds"] == [handed["state"]["listener"], *kept]
    assert handed["open"] == handed["state"]["fds"]


@pytest.mark.parametrize("raised", [True, False])
def test_it_takes_over_more_descriptors_than_half_its_limit(tmp_path: Path, raised: bool) -> None:
    soft, hard = 64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    handed = _begun_again(
        tmp_path,
        f"""
def prepare(self, state, *, strict):
    os.close(os.open("/", os.O_RDONLY))  # there are free numbers below the limit
    os.environ["SOFT"] = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if {raised}:  # as the pods' part does
        resource.setrlimit(resource.RLIMIT_NOFILE, ({hard}, {hard}))
    for fd in fds:
        os.close(fd)
    raise RuntimeError

Daemon.prepare = prepare
fds = [opened() for _ in range({soft} * 2 // 3)] + [opened({soft} + 9)]
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
take_over(0, listener=fds[0], fds=fds)
""",
    )
    assert handed["environment"].get("SOFT") == str(soft)
    assert handed["limit"] == [soft, hard]
    assert handed["open"] == handed["state"]["fds"]


_HANDING = f"""
import json, os, resource, sys
from runwasi.linux.fd import Fd
from runwasi.shim.daemon import handover

def handed_over(count, hard):
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fds = [Fd(os.open(os.devnull, os.O_RDONLY)) for _ in range(count)]
    state = lambda keep: {{"listener": [keep(fd) for fd in fds][0]}}
    try:
        handover.hand_over([sys.executable, "-c", TAKING], state)
    except OSError as error:
        print(error.strerror)
        assert not any(os.get_inheritable(fd.fileno()) for fd in fds)

TAKING = '''
import os, resource, sys
sys.path[:] = {sys.path!r}
from runwasi.shim.daemon import handover
handed = handover.Handed(int(sys.argv[2]))
for fd in handed.state["fds"]:
    os.close(fd)
handed.restore()
print("taken over", sum(os.path.sameopenfile(fd, spare.fileno()) for fd, spare in handed._spare.items()))
'''
"""


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (68, "taken over 68"),
        (69, "it takes twice 69 descriptors, and the hard limit of open files is 200: raise it"),
    ],
)
def test_only_as_many_descriptors_are_handed_over_as_the_next_can_hold(count: int, said: str) -> None:
    """There is no way back once the next program has begun: it would end with all pods."""
    done = subprocess.run(
        [sys.executable, "-c", f"{_HANDING}\nhanded_over({count}, 200)"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith(said), done.stdout + done.stderr


_SETTLING = """
import json, os
from runwasi.shim.daemon import handover

closing = os.close

def close(fd):
    closing(fd)
    raise OSError(24, "Too many open files")

def is_open(fd):
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False

fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
file = os.memfd_create("handover")
os.write(file, json.dumps({"fds": fds}).encode())
handed = handover.Handed(file)
os.close = close
handed.settle()
print([fd for fd in range(3, 64) if is_open(fd)])
"""


def test_a_close_that_fails_does_not_undo_what_was_taken_over() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SETTLING], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[3, 4, 5]\n", done.stdout + done.stderr
