"""Tests of what only the virtual machine has: scripts/vm runs them there."""

from __future__ import annotations

import os

import pytest

# Elsewhere there is nothing here to collect: a whole cgroup v2 tree and systemd are not for tests to take.
collect_ignore_glob = [] if "RUNWASI_VM" in os.environ else ["*"]


@pytest.fixture
def container_id(session_name: str, request: pytest.FixtureRequest) -> str:
    """A container id that nobody else on the machine uses."""
    name = request.node.name.partition("[")[0]
    return f"{session_name}-{name.removeprefix('test_')[:40]}"
