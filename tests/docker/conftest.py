"""A Docker of the newest release with containerd's image store, and our runtimes in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.components.build import component
from devtools.folders import remove_folder
from devtools.oci_image import busybox_layer, files_layer, write_image
from devtools.places import CACHE, WASI_DEMO_APP
from tests.docker.images import BUSYBOX, DEMO, HTTP, LAYERS
from tests.support.container_engines import ContainerEngine, newest_docker
from tests.support.leak_guard import _nothing_left_in_the_end  # noqa: F401  a fixture
from tests.support.wasm_images import wasm_image

# `make test-docker` fetches the programs; without them there is nothing here to collect.
collect_ignore_glob = [] if (CACHE / "docker-sid").exists() else ["test_*"]


@pytest.fixture(scope="session")
def docker(session_name: str) -> Iterator[ContainerEngine]:
    """Docker's command line, with all images loaded."""
    folder = Path(tempfile.mkdtemp(prefix=f"{session_name}-"))
    with newest_docker(folder) as engine:
        for archive in _write_images(folder):
            engine("load", "--input", archive)
        yield engine
    remove_folder(folder)


def _write_images(folder: Path) -> list[Path]:
    demo = WASI_DEMO_APP.read_bytes()
    files = {
        BUSYBOX: (busybox_layer(), ["/bin/sh"]),
        DEMO: (busybox_layer({"wasi-demo-app.wasm": demo}), ["/wasi-demo-app.wasm"]),
        HTTP: (files_layer({"hello.wasm": component("hello").read_bytes()}), ["/hello.wasm"]),
    }
    archives = [folder / f"{number}.tar" for number, _ in enumerate(files)]
    for archive, (name, (layer, command)) in zip(archives, files.items(), strict=True):
        write_image(archive, name, layer, command=command)
    return [*archives, wasm_image(folder, LAYERS, [("main.wasm", "", demo)])]
