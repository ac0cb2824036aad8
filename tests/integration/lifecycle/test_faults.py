"""A system call of a command fails, or its process is killed there: it refuses in a clear line, or did all it says.

`make faults` does this for every call; here are a sample of one seed, another with RUNWASI_TESTS_SEED, and those that
were once answered badly.
"""

from __future__ import annotations

import _ctypes
import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.folders import remove_cgroup
from devtools.waiting import until
from scripts.faults.cases import CASES, Kind, Machine
from scripts.faults.injection import FAULTS, WRONG, Fault, Injector
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

_SAMPLES = 3  # of each command


@pytest.fixture
def machine(folder: Path, session_name: str) -> Iterator[Machine]:
    machine = Machine(folder, session_name)
    yield machine
    machine.close()
    remove_cgroup(session_name)


@pytest.mark.parametrize("kind_name", ["native", "wasm", "terminal"])
def test_calls_that_fail_are_answered_well(machine: Machine, kind_name: str) -> None:
    seed = int(os.environ.get("RUNWASI_TESTS_SEED", "1"))
    chance = random.Random(seed)
    kind = Kind(machine, kind_name)
    injector = Injector(machine, kind)
    case = {case.name: case for case in kind.cases()}[chance.choice(CASES)]
    calls = injector.calls(case)
    for _ in range(_SAMPLES):
        process = chance.choice(list(calls))
        fault = Fault(process, chance.randint(1, max(calls[process], 1)), chance.choice(FAULTS))
        outcome = injector.inject(case, fault)
        assert outcome.what != WRONG, f"seed {seed}, {case.name}, {fault}: {outcome.said}"


def failing(
    syscall: str, error: str, command: list[str], when: str = "1+"
) -> subprocess.CompletedProcess[str]:
    """Run a command under strace, which has a system call fail in all of its processes."""
    tracer = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={syscall}"]
    tracer += ["-e", f"inject={syscall}:error={error}:when={when}"]
    return subprocess.run(
        [*tracer, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_a_bounding_set_that_cannot_be_read_is_not_taken_for_an_empty_one(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["grep", "CapBnd", "/proc/self/status"])
    command = runwasi.command("run", "--bundle", str(made.path), container_id)
    for number in range(1, 12):
        done = failing("prctl", "EPERM", command, when=str(number))
        assert done.returncode != 0 or done.stdout == "CapBnd:\t0000000020000420\n", (
            f"prctl {number}: {done.stderr}"
        )


def test_a_library_that_cannot_be_loaded_is_said_in_a_line(runwasi: Runtime, container_id: str) -> None:
    tracer = ["strace", "-f", "-o", "/dev/null", "-P", _ctypes.__file__, "-e", "inject=openat:error=EMFILE"]
    done = subprocess.run(
        [*tracer, *runwasi.command("state", container_id)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot load" in done.stderr


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ({}, "it was killed\n"),
        (
            {"limit": 64 << 20},
            "it was killed; a memory limit too low for it does that ($.linux.resources.memory.limit)\n",
        ),
    ],
)
def test_a_killed_creation_blames_a_memory_limit_only_if_there_is_one(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, memory: dict[str, int], said: str
) -> None:
    made = bundle(["true"])
    made.linux.setdefault("resources", {})["memory"] = memory
    script = "kill -KILL $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')"
    made.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
    assert refused.stderr.endswith(f"first process is gone before it was ready: {said}")


def test_a_start_whose_process_was_killed_on_its_last_steps_fails(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    fifo = made.rootfs / "tmp/reached"
    os.mkfifo(fifo)
    script = "echo > /tmp/reached; exec sleep 1000"
    made.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    container = Detached(runwasi, made.write(), container_id)
    container.create()
    pid = container.pid
    starting = subprocess.Popen(
        runwasi.command("start", container_id), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert fifo.read_text() == "\n"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, errors = starting.communicate(timeout=30)
    assert starting.returncode == 1
    assert "its process ended before its program ran" in errors
    until(lambda: container.status, lambda status: status == "stopped")
