"""Checkpoint and restore through Podman, over our runtime and over runc alike."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.oci_image import busybox_layer, write_image
from devtools.places import WASI_DEMO_APP
from devtools.waiting import until
from tests.support.container_engines import ContainerEngine, podman

IMAGE = "localhost/busybox:latest"
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


@pytest.fixture(params=["runwasi", "runc"])
def engine(request: pytest.FixtureRequest, session_name: str) -> Iterator[ContainerEngine]:
    """Podman with an image, over our runtime and over runc."""
    with tempfile.TemporaryDirectory(prefix=f"{session_name}-") as path:
        archive = Path(path) / "busybox.tar"
        layer = busybox_layer({"app.wasm": WASI_DEMO_APP.read_bytes()})
        write_image(archive, IMAGE, layer, command=["/bin/sh"])
        with podman(Path(path), request.param) as engine:
            engine("load", "--input", archive)
            yield engine


@pytest.fixture
def counter(engine: ContainerEngine) -> str:
    """A container that counts on its standard output, and has begun."""
    identity = engine.run("--detach", IMAGE, "sh", "-c", COUNT).stdout.strip()
    counts(engine, identity)
    return identity


def numbers(engine: ContainerEngine, container: str) -> list[int]:
    return [int(line) for line in engine("logs", container).stdout.split()]


def counts(engine: ContainerEngine, container: str) -> list[int]:
    """Wait until it has counted further, and return all that it counted."""
    now = len(numbers(engine, container))
    return until(lambda: numbers(engine, container), lambda seen: len(seen) > now)


def status(engine: ContainerEngine, container: str) -> str:
    return engine("inspect", "--format", "{{.State.Status}}", container).stdout.strip()


def test_a_container_counts_on_where_it_was(engine: ContainerEngine, counter: str) -> None:
    engine("container", "checkpoint", counter)
    assert status(engine, counter) == "exited"
    engine("container", "restore", counter)
    assert status(engine, counter) == "running"
    seen = counts(engine, counter)
    assert seen == list(range(1, len(seen) + 1))
    assert engine("exec", counter, "echo", "inside").stdout == "inside\n"
    engine("stop", "--time", "0", counter)
    assert status(engine, counter) == "exited"


def test_a_container_runs_on_if_it_is_to(engine: ContainerEngine, counter: str) -> None:
    engine("container", "checkpoint", "--leave-running", counter)
    assert status(engine, counter) == "running"
    counts(engine, counter)


def test_a_container_is_restored_from_an_archive_under_another_name(
    engine: ContainerEngine, counter: str, tmp_path: Path
) -> None:
    archive = tmp_path / "saved.tar.gz"
    engine("container", "checkpoint", "--export", archive, counter)
    engine("container", "restore", "--import", archive, "--name", "copy")
    copied = counts(engine, "copy")  # the archive has the former output, too
    assert copied == list(range(1, len(copied) + 1))


@pytest.mark.parametrize("engine", ["runwasi"], indirect=True)
def test_a_guest_is_refused_and_runs_on(engine: ContainerEngine) -> None:
    guest = engine.run("--detach", IMAGE, "/app.wasm", "sleep", "1000").stdout.strip()
    refused = engine("container", "checkpoint", guest, check=False)
    assert refused.returncode != 0
    assert "WebAssembly" in refused.stderr
    assert status(engine, guest) == "running"
