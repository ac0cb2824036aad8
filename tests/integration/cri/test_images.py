"""Wasm images and artifacts in pods, as kubelet runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.cri import Cri
from tests.support.wasm_images import artefact_of, forget, unlike_any_other, wasm_artifact, wasm_image

NAME = "localhost:5000/team/wasm:v1"


# Releases that take images whose layers are no part of a root file system; 1.6.20 does not, 1.6.25 does.
pytestmark = pytest.mark.parametrize("cri", ["1.7", "2"], indirect=True)


@pytest.fixture
def module(wasi_demo_app: bytes) -> bytes:
    return unlike_any_other(wasi_demo_app)


@pytest.fixture
def _clean(cri: Cri, module: bytes) -> Iterator[None]:
    yield
    key, _ = artefact_of(cri.containerd, f"sha256:{hashlib.sha256(module).hexdigest()}")
    forget(key)
    cri.containerd.ctr("image", "rm", "--sync", NAME)


def bring(cri: Cri, archive: Path) -> None:
    cri.containerd.ctr("images", "import", "--all-platforms", archive)
    cri.wait_for_image(NAME)


@pytest.mark.usefixtures("_clean")
def test_a_wasm_image_runs_in_a_pod(cri: Cri, module: bytes, folder: Path) -> None:
    bring(cri, wasm_image(folder, NAME, [("main.wasm", "", module)]))
    with cri.pod("runwasi") as pod:
        container = pod.run(NAME, [], ["echo", "from", "a", "layer"])
        assert container.wait() == 0
        assert container.log_lines(1)[0] == "from a layer"


@pytest.mark.usefixtures("_clean")
def test_a_wasm_artifact_runs_in_a_pod(cri: Cri, module: bytes, folder: Path) -> None:
    bring(cri, wasm_artifact(folder, NAME, [("main.wasm", module)]))
    with cri.pod("runwasi") as pod:
        container = pod.run(NAME, ["/main.wasm"], ["echo", "from", "an", "artifact"])
        assert container.wait() == 0
        assert container.log_lines(1)[0] == "from an artifact"


@pytest.mark.usefixtures("_clean")
def test_the_pods_command_names_one_of_an_artifacts_layers(cri: Cri, module: bytes, folder: Path) -> None:
    modules = [("other.wasm", b"\0asm\1\0\0\0"), ("main.wasm", module)]
    bring(cri, wasm_artifact(folder, NAME, modules))
    with cri.pod("runwasi") as pod:
        container = pod.run(NAME, ["main.wasm"], ["exit", "7"])
        assert container.wait() == 7
