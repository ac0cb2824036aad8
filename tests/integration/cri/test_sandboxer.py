"""Pods whose sandbox containerd 2 leaves to the shim: there is no pause container."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.containerd import HOSTS, remove_namespace_folders, running_containerd
from devtools.cri import Cri, api
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.integration.cri.conftest import cri_config

_RUNTIME = """
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.sandboxed]
      runtime_type = "io.containerd.wasmtime.v1"
      sandboxer = "shim"
"""


@pytest.fixture(scope="module")
def cri(
    session_name: str, session_folder: Path, pause_image: Path, busybox_image: Path, demo_image: Path
) -> Iterator[Cri]:
    """containerd 2 with a runtime class whose sandboxer is the shim."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir=session_folder))
    bridge = f"{session_name}"[:15]
    config = cri_config(folder, bridge) + _RUNTIME
    images = [pause_image, busybox_image, demo_image]
    with running_containerd(
        folder, HOSTS["2"], namespace="k8s.io", images=images, cri_config=config
    ) as containerd:
        (folder / "logs").mkdir()
        client = Cri(containerd, cgroup_parent=f"/{session_name}", logs=folder / "logs")
        for image in (BUSYBOX_IMAGE, DEMO_IMAGE):
            client.wait_for_image(image)
        yield client
        client.close()
    subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)
    remove_namespace_folders(session_name)


def test_wasm_and_native_share_a_pod_without_a_pause_container(cri: Cri) -> None:
    with cri.pod("sandboxed") as pod:
        assert pod.status().state == api.SANDBOX_READY
        assert pod.id not in cri.containerd.ctr("containers", "ls", "-q").stdout.split()
        wasm = pod.run(DEMO_IMAGE, [], ["echo", "from", "wasm"])
        native = pod.run(BUSYBOX_IMAGE, ["sh", "-c", "hostname; exit 5"])
        assert wasm.wait() == 0
        assert native.wait() == 5
        assert wasm.log_lines(1)[0] == "from wasm"
        assert native.log_lines(1) == [pod.config.hostname]


def test_containers_share_the_sandboxs_namespaces(cri: Cri) -> None:
    with cri.pod("sandboxed") as pod:
        one, two = (pod.run(BUSYBOX_IMAGE, ["sleep", "1000"]) for _ in range(2))
        for kind in ("net", "ipc", "uts"):
            namespaces = {os.readlink(f"/proc/{container.pid()}/ns/{kind}") for container in (one, two)}
            assert len(namespaces) == 1
            assert os.readlink(f"/proc/self/ns/{kind}") not in namespaces
