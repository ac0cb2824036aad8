"""Output that cannot be written: one line, or silence as befits a pipe that nobody reads; never a traceback."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from devtools.places import BIN
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.node_daemon import running_daemon
from tests.support.runtime import Runtime

SIGPIPE = 13
PRINTING = ["features", "list", "completion bash", "--version", "--help", "help run", "image --help"]


@pytest.fixture
def unread_pipe() -> int:
    """The end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("words", PRINTING)
def test_a_full_disk_is_one_line(runwasi: Runtime, words: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [BIN / "runwasi", *words.split()], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.endswith("standard output: No space left on device\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", PRINTING)
def test_a_reader_that_left_ends_a_command_in_silence(runwasi: Runtime, unread_pipe: int, words: str) -> None:
    done = subprocess.run(
        [BIN / "runwasi", *words.split()], stdout=unread_pipe, stderr=subprocess.PIPE, check=False
    )
    os.close(unread_pipe)
    assert (done.returncode, done.stderr) == (128 + SIGPIPE, b"")


def test_events_end_when_nobody_reads_them(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, unread_pipe: int
) -> None:
    Detached(runwasi, bundle(["sleep", "100"]), container_id).run()
    words = runwasi.command("events", "--interval", "1ms", container_id)
    done = subprocess.run(words, stdout=unread_pipe, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(unread_pipe)
    assert (done.returncode, done.stderr) == (128 + SIGPIPE, b"")


def test_errors_that_nobody_can_be_told_leave_the_status_as_it_is(runwasi: Runtime) -> None:
    runwasi.root.mkdir()
    for words, status in (("state nobody", 1), ("exec nobody true", 255)):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(runwasi.command(*words.split()), stderr=full, check=False)
        assert done.returncode == status


def test_the_builder_of_images_says_that_its_output_is_lost(folder: Path) -> None:
    (folder / "app.wasm").write_bytes(b"\0asm\1\0\0\0")
    words = ["--repo", "localhost", "--name", "app", "--tag", "v1", "--module", "app.wasm"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [BIN / "oci-tar-builder", *words], cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"oci-tar-builder: standard output: No space left on device\n"


@pytest.mark.parametrize(
    "program", ["containerd-shim-wasmtime-v1", "containerd-shim-wasmtimed-v1", "containerd-wasmtimed"]
)
@pytest.mark.parametrize("flag", ["-v", "-h"])
@pytest.mark.parametrize("client", ["native", "python"])
@pytest.mark.parametrize("warm", [False, True])
def test_the_shim_and_the_daemon_report_output_that_cannot_be_written(
    program: str,
    flag: str,
    client: str,
    warm: bool,
    folder: Path,
    python_clients: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = BIN if client == "native" else python_clients
    with contextlib.ExitStack() as stack:
        if warm:
            stack.enter_context(running_daemon(folder, monkeypatch))
        full = stack.enter_context(open("/dev/full", "wb"))
        done = subprocess.run([programs / program, flag], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{program}: No space left on device\n".encode()
