"""Callers such as cron jobs and daemons that start a program with standard streams closed."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from devtools.places import BIN, WASI_DEMO_APP
from devtools.waiting import until
from runwasi.images.reader import inspect
from scripts.launchers import programs
from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime

TALK = "echo out; echo err >&2"
PRINTING = {"features", "state", "list", "ps", "events"}
# Go fills the gaps since 1.20. Debian 12's runc is built by 1.19: it cannot print, and passes its own descriptors on.
FILLS_GAPS = {"runwasi": True, "runc": False}


def called(closed: Sequence[int], words: Sequence[str], cwd: Path) -> tuple[int, str, str]:
    """Run a command with descriptors closed; returns its status and what came out of those that are open."""
    shell = ["sh", "-c", 'exec "$@" ' + " ".join(f"{number}>&-" for number in closed), "sh", *words]
    errors = cwd / "errors"  # files: a container that stays would hold a pipe open
    output = cwd / "output"
    with output.open("w") as out, errors.open("w") as err:
        done = subprocess.run(
            shell, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, check=False, timeout=60
        )
    return done.returncode, output.read_text(), errors.read_text()


def assert_gets_null(pid: int, closed: Sequence[int], cwd: Path, runtime: Runtime) -> None:
    """Look at a container's process: it has what the caller has, and /dev/null for what is closed."""
    callers = ["/dev/null", str(cwd / "output"), str(cwd / "errors")]
    for number in (0, 1, 2):
        if number not in closed or FILLS_GAPS[runtime.name]:
            stream = os.readlink(f"/proc/{pid}/fd/{number}")
            assert stream == ("/dev/null" if number in closed else callers[number])


CLOSED = pytest.mark.parametrize(
    "closed",
    [closed for count in range(4) for closed in itertools.combinations((0, 1, 2), count)],
    ids=lambda closed: "".join(map(str, closed)) or "none",
)


@CLOSED
def test_every_command_does_its_work(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, folder: Path, closed: Sequence[int]
) -> None:
    sleeping, talking = bundle(["sleep", "100"]), bundle(["sh", "-c", f"read x; {TALK}"])
    pid_file = folder / "pid"
    for name, *words in (
        ("features",),
        ("spec", "--bundle", folder),
        ("create", "--pid-file", pid_file, "--bundle", sleeping.path, container_id),
        ("start", container_id),
        ("state", container_id),
        ("list",),
        ("ps", container_id),
        ("events", "--stats", container_id),
        ("exec", "--detach", "--pid-file", pid_file, container_id, "sleep", "100"),
        ("exec", container_id, "sh", "-c", TALK),
        ("pause", container_id),
        ("resume", container_id),
        ("update", "--pids-limit", "50", container_id),
        ("kill", container_id, "KILL"),
        ("delete", "--force", container_id),
        ("run", "--bundle", talking.path, container_id),
    ):
        status, output, errors = called(closed, oci_runtime.command(name, *words), folder)
        talks = name == "run" or TALK in words
        if (name in PRINTING or talks) and {1, 2} & {*closed} and not FILLS_GAPS[oci_runtime.name]:
            continue
        assert (name, status, errors) == (name, 0, "err\n" if talks and 2 not in closed else "")
        assert bool(output) == ((name in PRINTING or talks) and 1 not in closed), name
        if name == "create" or "--detach" in words:
            assert_gets_null(int(pid_file.read_text()), closed, folder, oci_runtime)
    assert oci_runtime("list", "--quiet").stdout == ""


@CLOSED
def test_a_guest_gets_dev_null_too(
    runwasi: Runtime,
    bundle: BundleMaker,
    container_id: str,
    folder: Path,
    wasi_demo_app: bytes,
    closed: Sequence[int],
) -> None:
    made = bundle(["/app.wasm", "echo", "hello"], files={"app.wasm": wasi_demo_app})
    status, output, errors = called(
        closed, runwasi.command("run", "--bundle", made.path, container_id), folder
    )
    assert (status, output, errors) == (0, "" if 1 in closed else "hello\nexiting\n", "")


@pytest.mark.parametrize("program", programs())
@pytest.mark.parametrize("client", ["native", "python"])
def test_every_program_answers(program: str, client: str, folder: Path, python_clients: Path) -> None:
    path = (BIN if client == "native" else python_clients) / program
    words = ["--help"] if program in ("runwasi", "oci-tar-builder") else ["-v"]
    assert called((0, 1, 2), [str(path), *words], folder)[0] == 0


def test_output_without_stdout_does_not_get_into_written_files(folder: Path) -> None:
    words = ["--repo", "localhost", "--name", "demo", "--tag", "v1", "--module", str(WASI_DEMO_APP)]
    for builder in (["oci-tar-builder"], ["runwasi", "image", "build"]):
        program, *command = builder
        assert called((0, 1, 2), [str(BIN / program), *command, *words], folder)[0] == 0
        assert [image.name for image in inspect(str(folder / "demo.tar"))] == ["localhost/demo:v1"]


def test_a_node_daemon_keeps_dev_null(folder: Path) -> None:
    address = folder / "manager.sock"
    with subprocess.Popen(
        [
            "sh",
            "-c",
            'exec "$@" <&- >&- 2>&-',
            "sh",
            str(BIN / "containerd-wasmtimed"),
            "-address",
            str(address),
        ]
    ) as daemon:
        title = Path(f"/proc/{daemon.pid}/cmdline")
        until(title.read_bytes, lambda words: words.startswith(b"containerd-wasmtimed -address"))  # it serves
        streams = [os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in (0, 1, 2)]
        daemon.terminate()
    assert streams == ["/dev/null"] * 3
    assert daemon.returncode == 0
