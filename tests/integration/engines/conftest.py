"""Every engine, and the guest they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools import engines
from tests.support import wasm
from tests.support.prober import prober_module


@pytest.fixture(scope="session", params=engines.ALL)
def engine(request: pytest.FixtureRequest) -> engines.EngineHost:
    """Each engine in turn; what it needs is downloaded into build/cache the first time."""
    return engines.engine_host(request.param)


@pytest.fixture(scope="session", params=engines.BUILT_IN)
def built_in_engine(request: pytest.FixtureRequest) -> engines.EngineHost:
    """Each engine but the example, for what its interpreter cannot do."""
    return engines.engine_host(request.param)


@pytest.fixture(scope="session")
def wasmtime() -> engines.EngineHost:
    return engines.engine_host("wasmtime")


@pytest.fixture(scope="session")
def guest(session_folder: Path) -> Path:
    """A module that does what its first argument says."""
    return wasm.guest(session_folder)


@pytest.fixture(scope="session")
def prober(session_folder: Path) -> Path:
    """A module that looks for processes."""
    return prober_module(session_folder)
