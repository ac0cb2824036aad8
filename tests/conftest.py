"""Fixtures for every test."""

from __future__ import annotations

import os
import uuid

import pytest

from devtools.places import SESSION_VARIABLE


@pytest.fixture(scope="session", autouse=True)
def session_name() -> str:
    """A name that this session's processes, folders, cgroups and containers carry."""
    name = f"rw{uuid.uuid4().hex[:8]}"
    os.environ[SESSION_VARIABLE] = name
    os.environ["RUNWASI_DAEMON"] = "off"  # tests that want a node daemon have one of their own
    return name
