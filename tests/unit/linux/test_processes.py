"""Forking by clone3, pidfds and what /proc tells of a process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runwasi.linux import processes
from runwasi.linux.filesystems import open_procfs
from runwasi.linux.processes import Child, fork_into


def child_that(body: str) -> Child:
    """Fork a child that does one of a few things and ends."""
    child = fork_into()
    if child is None:
        if body == "signals itself":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        if body == "waits":
            signal.pause()
        os._exit(7)
    return child


def ended(child: Child) -> int:
    try:
        return processes.reap(child.pidfd)
    finally:
        os.close(child.pidfd)


def test_the_exit_code_is_the_childs() -> None:
    assert ended(child_that("ends")) == 7


def test_a_signal_ends_with_128_and_its_number() -> None:
    assert ended(child_that("signals itself")) == 128 + signal.SIGTERM
    child = child_that("waits")
    processes.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    assert ended(child) == 128 + signal.SIGKILL


def test_a_child_that_was_reaped_is_gone() -> None:
    child = child_that("ends")
    processes.reap(child.pidfd)
    with pytest.raises(ProcessLookupError):
        processes.pidfd_send_signal(child.pidfd, 0)
    with pytest.raises(ChildProcessError):
        processes.reap(child.pidfd)
    with pytest.raises(ProcessLookupError):
        processes.start_time(child.pid)
    os.close(child.pidfd)


def test_the_interpreter_works_in_the_child() -> None:
    reading, writing = os.pipe()
    child = fork_into()
    if child is None:
        # The C library must know the new thread id: signals to the main thread go by it.
        signal.signal(signal.SIGUSR1, lambda *_: os.write(writing, b"signalled"))
        main = threading.main_thread().ident or 0
        thread = threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGUSR1))
        thread.start()
        thread.join()
        os._exit(0)
    os.close(writing)
    assert ended(child) == 0
    with open(reading, "rb") as stream:
        assert stream.read() == b"signalled"


def test_start_time_and_state_are_the_processes() -> None:
    child = child_that("waits")
    try:
        assert processes.start_time(child.pid) >= processes.start_time(os.getpid()) > 0
        assert processes.process_state(child.pid) in {"R", "S"}
        processes.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT)
        assert processes.process_state(child.pid) == "Z"
    finally:
        ended(child)


def test_a_name_with_blanks_and_parentheses_does_not_confuse_stat() -> None:
    child = fork_into()
    if child is None:
        processes.set_name(") S (x")
        os._exit(
            0 if processes.process_state(os.getpid()) == "R" and processes.start_time(os.getpid()) else 1
        )
    assert ended(child) == 0


def test_only_the_kept_descriptors_survive() -> None:
    child = fork_into()
    if child is None:
        kept = os.dup2(0, 50)
        other = os.dup2(0, 60)
        processes.close_fds_except((0, 1, 2, kept))
        survivors = [fd for fd in (kept, other) if os.path.exists(f"/proc/self/fd/{fd}")]
        os._exit(0 if survivors == [kept] else 1)
    assert ended(child) == 0


def test_a_failed_fork_says_what_was_asked() -> None:
    with pytest.raises(OSError, match="clone3 with flags 0x800"):
        fork_into(0x800)  # CLONE_SIGHAND without CLONE_VM


@pytest.mark.parametrize("arguments", [["program", "", "a b", "ü", ""], ["program", "x" * 200_000]])
def test_a_child_shows_another_command_line_and_no_environment(arguments: list[str]) -> None:
    line = processes.CommandLine(arguments, open_procfs())
    assert seen_of_child(line.show) == (b"".join(each.encode() + b"\0" for each in arguments), b"")


def test_a_command_line_is_cut_to_its_old_place_where_the_kernel_allows_no_other() -> None:
    room = len(Path("/proc/self/cmdline").read_bytes())
    for arguments in (["p", "a"], ["p" * room, "a"]):
        text = b"".join(each.encode() + b"\0" for each in arguments)
        line = processes.CommandLine(arguments, open_procfs())
        command, environment = seen_of_child(line._overwrite)
        assert command == text[: room - 1].ljust(room, b"\0")
        assert set(environment) <= {0}


def seen_of_child(show: Callable[[], None]) -> tuple[bytes, bytes]:
    """Return what a child's cmdline and environ hold once it has called show."""
    read_end, write_end = os.pipe()
    child = fork_into()
    if child is None:
        show()
        os.write(write_end, b".")
        signal.pause()
    assert child is not None
    assert os.read(read_end, 1) == b"."
    folder = Path(f"/proc/{child.pid}")
    seen = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
    os.kill(child.pid, signal.SIGKILL)
    ended(child)
    os.close(read_end)
    os.close(write_end)
    return seen


def test_a_number_that_only_a_session_still_has_is_no_process() -> None:
    leader = subprocess.Popen(["sh", "-c", "sleep 100 &"], start_new_session=True)
    leader.wait()
    try:
        with pytest.raises(ProcessLookupError):
            processes.pidfd_open(leader.pid)
    finally:
        os.killpg(leader.pid, signal.SIGKILL)


def test_whether_a_process_has_executed_anything_is_known_also_of_a_dead_one() -> None:
    forked = child_that("ends")
    os.waitid(os.P_PID, forked.pid, os.WEXITED | os.WNOWAIT)
    assert processes.failed_unexecuted(forked.pid)
    processes.reap(forked.pidfd)
    os.close(forked.pidfd)
    assert not processes.failed_unexecuted(forked.pid)
    with subprocess.Popen(["true"]) as executed:
        os.waitid(os.P_PID, executed.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.failed_unexecuted(executed.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_before_it_executed_anything_has_not_failed(number: int) -> None:
    forked = child_that("waits")
    os.kill(forked.pid, number)
    os.waitid(os.P_PID, forked.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.failed_unexecuted(forked.pid)
    processes.reap(forked.pidfd)
    os.close(forked.pidfd)
