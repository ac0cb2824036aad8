"""Fixtures for every test."""

from __future__ import annotations

import os
import signal
import uuid

import pytest
from hypothesis import HealthCheck, settings

from devtools.places import SESSION_VARIABLE

# On a busy machine an example may take any time; pytest's own timeout ends what hangs.
settings.register_profile("any time", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any time")

# A shell's background job ignores it, and so would every container of a test.
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def session_name() -> str:
    """A name that this session's processes, folders, cgroups and containers carry."""
    name = f"rw{uuid.uuid4().hex[:8]}"
    os.environ[SESSION_VARIABLE] = name
    os.environ["RUNWASI_DAEMON"] = "off"  # tests that want a node daemon have one of their own
    return name
