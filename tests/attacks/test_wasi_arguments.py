"""A hostile module makes every call of WASI preview 1 with every bad argument: refused, or a trap; the host lives."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from devtools.engines import EngineHost, engine_host
from tests.attacks.wasi_arguments import KINDS, arguments_module

ACCEPTED, REFUSED, WILD = range(3)  # as in guests/arguments.c
LAST_ERRNO = 76
LOST = 75
MOST_MEMORY = 400 << 10  # KiB
MOST_RUNS = 400
NOTHING_TO_DO = {("path_filestat_set_times", "bataaa")}
"""WasmEdge has no look at a path that is too long when there are no times to set."""


class Call(NamedTuple):
    """A call that was made; its errno is None if it trapped.

    chosen  which value each argument had, a letter for each: "a" is the first that guests/arguments.c adds
    sort    that of the worst argument
    """

    number: int
    name: str
    chosen: str
    sort: int
    errno: int | None


@pytest.fixture(params=["wasmtime", "wasmedge"])
def engine(request: pytest.FixtureRequest) -> EngineHost:
    """Each engine whose WASI works in its guest's own process; Wasmer's is a system of its own beside it."""
    return engine_host(request.param)


@pytest.fixture(scope="session")
def module(session_folder: Path) -> Path:
    """The hostile module."""
    return arguments_module(session_folder)


@pytest.fixture
def root(folder: Path) -> Path:
    """The folder that the guest is given, beside a secret, with a link that leads up to it."""
    (folder / "secret").write_text("not for the guest")
    root = folder / "root"
    root.mkdir()
    (root / "up").symlink_to("..")
    return root


def run(engine: EngineHost, module: Path, root: Path) -> tuple[list[Call], int, int, int]:
    """Have all calls made; return them, how often the guest had to be begun, its last status, and the most memory."""
    job = {
        "engine": engine.name,
        "module": str(module),
        "annotations": {"io.runwasi.preopens": f"/work={root}"},
        "env": ["NAME=value"],
        "most": MOST_RUNS,
        "status": LOST,
    }
    command = [*engine.python, "-m", "tests.attacks.begin_again", json.dumps(job)]
    done = subprocess.run(
        ["prlimit", f"--fsize={64 << 20}", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        errors="replace",
        env=engine.environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    last = done.stdout.splitlines()[-1].split()
    assert last[0] == "ended"
    runs, status, memory = map(int, last[1:])
    return parsed(done.stdout), runs, status, memory


def test_every_bad_argument_is_refused(engine: EngineHost, module: Path, root: Path) -> None:
    calls, runs, status, memory = run(engine, module, root)
    print(engine.name, f"{len(calls)} calls, {runs} runs, {memory} KiB", Counter(call.sort for call in calls))
    assert (status, runs < MOST_RUNS) == (0, True), calls[-1]
    assert memory < MOST_MEMORY
    assert [call.number for call in calls] == list(range(len(calls)))
    assert {call.name for call in calls} == KINDS.keys(), calls[-1]
    assert [call for call in calls if not as_expected(call)] == []
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]
    assert (root.parent / "secret").read_text() == "not for the guest"


def parsed(output: str) -> list[Call]:
    found = re.findall(r"^(\d+) (\w+) ([a-z]*) (\d)(?: (-?\d+))?$", output, re.MULTILINE)
    return [
        Call(int(number), name, chosen, int(sort), int(errno) if errno else None)
        for number, name, chosen, sort, errno in found
    ]


def as_expected(call: Call) -> bool:
    """Return whether an answer is one that its arguments allow."""
    if call.errno is None:
        return call.sort == WILD
    if not 0 <= call.errno <= LAST_ERRNO:
        return False
    return call.sort == ACCEPTED or call.errno != 0 or call[1:3] in NOTHING_TO_DO
