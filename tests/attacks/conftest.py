"""The integration tests' fixtures, leak guard included, and the hostile programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devtools import engines
from devtools.places import ROOT
from tests.integration.conftest import (  # noqa: F401 - fixtures
    _nothing_left_by_the_test,
    _session_daemon,
    any_shim,
    bundle,
    container_id,
    daemon,
    folder,
    new_id,
    our_shim,
    python_clients,
    runwasi,
    session_folder,
    shared_shim,
    sink,
    wasi_demo_app,
)

GUESTS = ROOT / "tests/attacks/guests"


@pytest.fixture(scope="session", params=engines.BUILT_IN)
def engine(request: pytest.FixtureRequest) -> engines.EngineHost:
    """Each built-in engine in turn; what it needs is downloaded into build/cache the first time."""
    return engines.engine_host(request.param)


@pytest.fixture(scope="session")
def inspector(session_folder: Path) -> bytes:  # noqa: F811
    """The native program that prints all that it was given."""
    program = session_folder / "inspector"
    source = GUESTS / "inspector.c"
    subprocess.run(
        ["gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True
    )
    return program.read_bytes()
