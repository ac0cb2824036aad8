"""A hostile component makes every call of WASI 0.2 with every bad argument: an error or a trap; the host lives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from devtools.places import ROOT
from runwasi.wasi import interfaces
from runwasi.wasi.component.interface import Interface
from runwasi.wasi.inset.inset_interface import HOST
from tests.attacks.component_arguments import Case, HostileComponent
from tests.attacks.component_producers import NONE, PRODUCERS
from tests.attacks.component_values import REFUSED, WILD

MOST_MEMORY = 400 << 10  # KiB
ROOM = 9
"""With so many descriptors left, each call gets all that it needs."""

ENDS_THE_GUEST = ("exit", "exit-with-code")


@pytest.fixture(scope="session")
def hostile(session_folder: Path) -> HostileComponent:
    """The hostile component."""
    folder = session_folder / "hostile"
    folder.mkdir()
    return HostileComponent(folder)


@pytest.fixture
def root(folder: Path) -> Path:
    """The folder that the guests are given, beside a secret."""
    (folder / "secret").write_text("not for the guest")
    root = folder / "root"
    root.mkdir()
    return root


@pytest.fixture(params=["alone", "concurrent"])
def concurrent(request: pytest.FixtureRequest) -> bool:
    """How the guests wait: as a command does, or as the guests of a server."""
    return bool(request.param == "concurrent")


def attacked(
    hostile: HostileComponent, root: Path, cases: Iterable[int], *, concurrent: bool, room: int | None = None
) -> tuple[dict[int, str], int]:
    """Make attacks; return the outcome of each, and the memory that the host has in the end, in KiB."""
    job = {
        "component": str(hostile.path),
        "root": str(root),
        "cases": list(cases),
        "concurrent": concurrent,
        "room": room,
    }
    done = subprocess.run(
        ["prlimit", f"--fsize={64 << 20}", sys.executable, "-m", "tests.attacks.attack_host", "-"],
        cwd=ROOT,
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-200:], done.stderr[-2000:])
    assert done.stderr == ""
    *lines, last = done.stdout.splitlines()
    outcomes = {int(number): outcome for number, _, outcome in (line.partition(" ") for line in lines)}
    return outcomes, int(last.removeprefix("memory "))


def test_every_function_of_ours_is_attacked(hostile: HostileComponent) -> None:
    interfaces.load()
    attacked = {(each.module.partition("@")[0], each.name) for each in hostile.functions}
    for interface in Interface.by_name.values():
        if interface.name == HOST:  # no component may name it
            continue
        assert {(interface.name, name) for name in interface.functions} <= attacked
        for resource in interface.resources:
            assert (interface.name, f"[resource-drop]{resource}") in attacked
    produced = {each.resource for each in PRODUCERS.values()}
    named = {name for interface in Interface.by_name.values() for name in interface.resources}
    assert produced | NONE == named


def test_every_bad_argument_is_refused(hostile: HostileComponent, root: Path, concurrent: bool) -> None:
    outcomes, memory = attacked(hostile, root, range(len(hostile.cases)), concurrent=concurrent)
    print(f"{len(outcomes)} calls, {memory} KiB", Counter(map(kind_of, outcomes.values())))
    assert outcomes.keys() == set(range(len(hostile.cases)))
    assert [
        (hostile.cases[number], outcome) for number, outcome in outcomes.items() if not kind_of(outcome)
    ] == []
    assert [
        case for number, case in enumerate(hostile.cases) if not as_expected(case, outcomes[number])
    ] == []
    assert memory < MOST_MEMORY
    assert {path.name: path.is_dir() for path in root.parent.iterdir()} == {"root": True, "secret": False}
    assert (root.parent / "secret").read_text() == "not for the guest"


def test_calls_fail_when_descriptors_run_out(hostile: HostileComponent, root: Path, concurrent: bool) -> None:
    plain = [number for number, case in enumerate(hostile.cases) if not case.about]
    for room in range(ROOM):
        outcomes, _ = attacked(hostile, root, plain, concurrent=concurrent, room=room)
        assert [(hostile.cases[number], text) for number, text in outcomes.items() if not kind_of(text)] == []


def kind_of(outcome: str) -> str:
    """Return what an outcome is; nothing for an exception that no rule names."""
    if outcome.isdigit():
        return "result" if outcome == "0" else "error or value"
    return outcome if outcome in ("trap", "waits") else ""


def as_expected(case: Case, outcome: str) -> bool:
    """Return whether an outcome is one that the arguments allow."""
    if not case.about and case.sort != WILD:  # nothing is wrong with the arguments
        return outcome != "trap" or case.function.endswith(ENDS_THE_GUEST)
    return case.sort != REFUSED or not case.fallible or outcome != "0"
