"""A volume that another container changes while a container with mounts in it is made (CVE-2021-30465)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle
from tests.integration.conftest import BundleMaker
from tests.support.exchange import exchanging
from tests.support.runtime import Runtime

TIMES = 10
Json = Any


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder of the host, where nothing may be made and nothing be mounted."""
    path = folder / "outside"
    (path / "there").mkdir(parents=True)
    return path


@pytest.fixture
def volume(folder: Path, outside: Path) -> Path:
    """A shared volume with a place for mounts, and a link out of it."""
    path = folder / "volume"
    (path / "place").mkdir(parents=True)
    (path / "link").symlink_to(outside)
    return path


@pytest.fixture
def escapes(folder: Path) -> Path:
    """Where a hook writes which mounts of a container, not yet in its root, are out of that root."""
    return folder / "escapes"


@pytest.fixture
def sharing(bundle: BundleMaker, volume: Path, outside: Path, escapes: Path) -> Callable[[Json], Bundle]:
    """A container that has the volume, with a mount in the place that is exchanged for the link."""

    def make(mount: Json) -> Bundle:
        made = bundle(["cat", "/proc/self/mounts"])
        shared = {"destination": "/volume", "source": str(volume), "options": ["rbind", "rslave"]}
        made.config["mounts"] += [shared, mount]
        report = f"grep ' {outside}' /proc/self/mountinfo >>{escapes}; true"
        hook = {"path": "/bin/sh", "args": ["sh", "-c", report], "env": ["PATH=/bin:/usr/bin"]}
        made.config["hooks"] = {"createContainer": [hook]}
        return made.write()

    return make


def marker(destination: str) -> Json:
    return {"destination": destination, "type": "tmpfs", "source": "marker"}


def bound(source: Path, destination: str) -> Json:
    return {"destination": destination, "source": str(source), "options": ["rbind"]}


@pytest.mark.parametrize("name", ["there", "new/below"])
@pytest.mark.parametrize("kind", ["tmpfs", "folder", "file"])
def test_a_destination_that_is_exchanged_for_a_link_stays_inside(
    runwasi: Runtime,
    sharing: Callable[[Json], Bundle],
    volume: Path,
    outside: Path,
    escapes: Path,
    container_id: str,
    kind: str,
    name: str,
) -> None:
    source = outside.with_name("source")
    source.mkdir() if kind == "folder" else source.touch()
    destination = f"/volume/place/{name}".rstrip("/")
    made = sharing(marker(destination) if kind == "tmpfs" else bound(source, destination))
    with exchanging(volume / "place", volume / "link"):
        for number in range(TIMES):
            done = runwasi("run", "--bundle", made.path, f"{container_id}-{number}", check=False)
            assert "Traceback" not in done.stderr
    assert os.listdir(outside) == ["there"]
    assert os.listdir(outside / "there") == []
    assert escapes.read_text() == ""
