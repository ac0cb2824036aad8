"""Tests of what only the virtual machine has: scripts/vm runs them there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.daemon_calls import Pods

# Elsewhere there is nothing here to collect: a whole cgroup v2 tree and systemd are not for tests to take.
collect_ignore_glob = [] if "RUNWASI_VM" in os.environ else ["*"]


@pytest.fixture
def container_id(session_name: str, request: pytest.FixtureRequest) -> str:
    """A container id that nobody else on the machine uses."""
    name = request.node.name.partition("[")[0]
    return f"{session_name}-{name.removeprefix('test_')[:40]}"


@pytest.fixture
def start_pod(tmp_path: Path, container_id: str) -> Iterator[Pods]:
    """Has the daemon start a pod when it is called."""
    pods = Pods(tmp_path, container_id)
    yield pods
    pods.close()
