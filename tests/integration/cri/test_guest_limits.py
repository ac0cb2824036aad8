"""UpdateContainerResources, which is a pod's resize in place, reaches the guest of a running container."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.cri import Container, Cri, api
from devtools.oci_image import files_layer, write_image
from tests.support import wasm
from tests.support.memory import until_limits_are_applied

MIB = 1 << 20
IMAGE = "localhost/grower:latest"


@pytest.fixture(scope="session")
def grower_image(session_folder: Path) -> Path:
    """An image archive of the module that grows when it is told to."""
    archive = session_folder / "grower.tar"
    layer = files_layer({"app.wasm": wasm.grower(session_folder).read_bytes()})
    write_image(archive, IMAGE, layer, entrypoint=["/app.wasm"], command=["follow"])
    return archive


@pytest.fixture
def image(cri: Cri, grower_image: Path) -> str:
    """The name of that image, once CRI knows it."""
    cri.containerd.import_image(grower_image)
    cri.wait_for_image(IMAGE)
    return IMAGE


def _full(container: Container, times: int) -> int:
    """Have the guest grow for the so many-th time, and return how many MiB it has then."""
    Path(f"/proc/{container.pid()}/root/fill").touch()
    return int(container.log_lines(1 + times)[-1].removeprefix("full at ").removesuffix(" MiB"))


def _limited(mebibytes: int) -> dict[str, int]:
    return {"memory_limit_in_bytes": mebibytes * MIB}


def _update(container: Container, mebibytes: int) -> None:
    container.update(**_limited(mebibytes))
    until_limits_are_applied(container.pid())


def test_a_guest_grows_as_far_as_its_pods_resize_lets_it(cri: Cri, image: str) -> None:
    with cri.pod("runwasi") as pod:
        container = pod.run(image, resources=api.LinuxContainerResources(**_limited(64)))
        assert _full(container, 1) == 64 - 13
        _update(container, 256)
        assert _full(container, 2) == 256 - 13


def test_after_a_resize_downwards_growth_fails_and_nothing_is_killed(cri: Cri, image: str) -> None:
    with cri.pod("runwasi") as pod:
        container = pod.run(image, resources=api.LinuxContainerResources(**_limited(256)))
        container.log_lines(1)
        _update(container, 64)
        assert _full(container, 1) == 64 - 13
        assert container.status().state == api.CONTAINER_RUNNING
