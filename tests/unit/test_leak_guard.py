"""The leak guard finds what a test leaves, and names it."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from devtools import leaks
from devtools.waiting import until


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_SETTLE_SECONDS", 0.0)


def test_a_process_left_behind_is_named(session_name: str) -> None:
    before = leaks.take(session_name)
    with subprocess.Popen(["sleep", "1000"]) as process:
        _wait_for(process, "environ")
        leaked = leaks.since(before, session_name)
        process.kill()
    assert [line.partition(" started")[0] for line in leaked] == [f"processes: {process.pid} sleep 1000"]
    assert leaks.pids(leaked) == [process.pid]


def _wait_for(process: subprocess.Popen[bytes], file: str) -> None:
    """Wait for a file of /proc: the kernel shows it a moment after execve has closed what Popen waits for."""
    until(Path(f"/proc/{process.pid}/{file}").read_bytes, bool)


def test_a_descriptor_left_open_is_named(session_name: str, tmp_path: Path) -> None:
    before = leaks.take(session_name)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    leaked = leaks.since(before, session_name)
    os.close(descriptor)
    assert leaked == [f"descriptors: {descriptor} -> {tmp_path}"]


def test_another_sessions_process_is_not_ours(session_name: str) -> None:
    before = leaks.take(session_name)
    with subprocess.Popen(["sleep", "1000"], env={}) as process:
        _wait_for(process, "cmdline")
        leaked = leaks.since(before, session_name)
        process.kill()
    assert leaked == []


def test_a_process_that_ends_in_time_is_no_leak(session_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_SETTLE_SECONDS", 10.0)
    reader, writer = os.pipe()
    before = leaks.take(session_name)
    orphan = subprocess.run(
        ["sh", "-c", "exec 3<&0; cat <&3 >/dev/null & echo $!"],
        stdin=reader,
        stdout=subprocess.PIPE,
        check=True,
    )
    os.close(reader)
    assert Path(f"/proc/{int(orphan.stdout)}").exists()
    threading.Timer(0.3, os.close, (writer,)).start()  # its end
    assert leaks.since(before, session_name) == []
