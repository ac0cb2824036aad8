"""Terminals: joined with ours in the foreground, handed over a socket in the background."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from devtools.bundle import Bundle
from devtools.waiting import until
from runwasi.linux.processes import process_state
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.passed_descriptors import receiving
from tests.support.quiet import context_switches
from tests.support.runtime import Runtime

_SECONDS = 20


class Session:
    """A program on a terminal of its own, as a person would run it."""

    def __init__(self, command: list[str], rows: int = 24, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave
        )
        self.shown = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + _SECONDS
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.shown!r}"
            if select.select([self.master], [], [], left)[0]:
                self.shown += os.read(self.master, 65536)

    def finish(self) -> int:
        code = self.process.wait(_SECONDS)
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65536)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def terminal_bundle(bundle: BundleMaker, program: str) -> Bundle:
    made = bundle(["sh", "-c", program])
    made.process["terminal"] = True
    return made.write()


class Run(Protocol):
    """Run a shell program in a container on a terminal."""

    def __call__(self, program: str, rows: int = 24, columns: int = 80) -> Session: ...


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    """The sessions of a test, to be closed."""
    opened: list[Session] = []
    yield opened
    for session in opened:
        session.close()


@pytest.fixture
def run(oci_runtime: Runtime, bundle: BundleMaker, container_id: str, sessions: list[Session]) -> Run:
    """Run a shell program in a container on a terminal."""

    def start(program: str, rows: int = 24, columns: int = 80) -> Session:
        made = terminal_bundle(bundle, program)
        session = Session(oci_runtime.command("run", "--bundle", str(made.path), container_id), rows, columns)
        sessions.append(session)
        return session

    return start


def test_keys_reach_the_program_and_its_output_the_screen(run: Run) -> None:
    session = run("tty; read line; echo you said $line; exit 3")
    session.wait_for(b"/dev/pts/0")
    session.type(b"hello\r")
    session.wait_for(b"you said hello\r\n")
    assert session.finish() == 3
    assert termios.tcgetattr(session.slave) == session.before


def test_interrupts_are_the_programs_and_not_ours(run: Run) -> None:
    session = run("trap 'echo interrupted' INT; echo ready; while :; do sleep 0.1; done")
    session.wait_for(b"ready")
    session.type(b"\x03")
    session.wait_for(b"interrupted")
    session.process.send_signal(signal.SIGKILL)


def test_the_size_is_ours_and_follows_it(run: Run) -> None:
    """The program's first look may come before runc has set the size."""
    session = run("trap exit TERM; while :; do stty size; sleep 0.1; done", 30, 100)
    session.wait_for(b"30 100")
    session.resize(50, 120)
    session.wait_for(b"50 120")
    session.process.terminate()
    assert session.finish() == 0


def test_all_that_was_written_before_the_end_is_shown(run: Run) -> None:
    session = run("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
    session.wait_for(b"line 1999\r\n")
    assert session.finish() == 0
    assert session.shown.count(b"line ") == 2000


@pytest.mark.cgroup_v2
def test_exec_gets_a_terminal_of_its_own(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, sessions: list[Session]
) -> None:
    Detached(oci_runtime, bundle(["sleep", "100"]), container_id).run()
    session = Session(
        oci_runtime.command("exec", "--tty", container_id, "sh", "-c", "tty; test -t 1; exit $?")
    )
    sessions.append(session)
    session.wait_for(b"/dev/pts/0")
    assert session.finish() == 0


def test_without_any_terminal_it_says_so(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = terminal_bundle(bundle, "true")
    done = subprocess.run(
        runwasi.command("run", "--bundle", str(made.path), container_id),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"/dev/tty: No such device or address (the container wants a terminal" in done.stderr


@pytest.mark.cgroup_v2
def test_in_the_background_the_master_is_sent_to_the_console_socket(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    made = terminal_bundle(bundle, "read line; echo got $line; stty size")
    made.process["consoleSize"] = {"height": 33, "width": 99}
    container = Detached(oci_runtime, made.write(), container_id)
    with receiving(folder / "console") as receive:
        container.create("--console-socket", str(folder / "console"))
        name, master = receive()
    assert name
    with open(master, "r+b", 0) as terminal:
        oci_runtime("start", container_id)
        terminal.write(b"word\n")
        shown = b""
        while not shown.endswith(b"99\r\n"):
            shown += terminal.read(4096) or b""
        assert b"got word\r\n" in shown
        assert b"33 99\r\n" in shown
        container.wait()


class _Looks:
    """Return whether processes have been idle since the last look."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._last: list[tuple[str, int]] = []

    def are_alike(self) -> bool:
        last, self._last = self._last, [(process_state(pid), context_switches(pid)) for pid in self._pids]
        return self._last == last and all(state == "S" for state, _ in last)


def test_a_terminal_survives_output_that_nobody_reads(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, sessions: list[Session]
) -> None:
    """Signals are passed on even while our own output is stuck."""
    made = terminal_bundle(
        bundle, "trap 'exit 5' TERM; while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    )
    session = Session(runwasi.command("run", "--bundle", str(made.path), container_id))
    sessions.append(session)
    session.wait_for(b"xxx")
    pair = session.process.pid, runwasi.state(container_id)["pid"]
    until(_Looks(pair).are_alike, bool)  # neither gets on: our output is full, and so is the container's
    session.process.terminate()
    deadline = time.monotonic() + _SECONDS
    while session.process.poll() is None:
        assert time.monotonic() < deadline
        if select.select([session.master], [], [], 0.1)[0]:
            os.read(session.master, 65536)
    assert session.process.returncode == 5
