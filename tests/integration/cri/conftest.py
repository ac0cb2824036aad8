"""A containerd with CRI: its own bridge network, a pause image, and a runtime class for us and for runc."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.containerd import HOSTS, remove_namespace_folders, running_containerd
from devtools.cri import Cri
from devtools.oci_image import files_layer, write_image
from tests.support.mode import MODE, OURS

PAUSE_IMAGE = "localhost/pause:latest"

_CONFIG = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  # Machines that keep CAP_SYS_RESOURCE from us let nobody lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runwasi"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runwasi]
      runtime_type = "{runtime}"
      privileged_without_host_devices = false
      pod_annotations = ["io.runwasi.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


@pytest.fixture(scope="session")
def pause_image(session_folder: Path) -> Path:
    """An image archive of the process that holds a pod's namespaces."""
    program = session_folder / "pause"
    source = Path(__file__).with_name("pause.c")
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    archive = session_folder / "pause.tar"
    layer = files_layer({"pause": program.read_bytes()})
    write_image(archive, PAUSE_IMAGE, layer, command=[], entrypoint=["/pause"])
    return archive


@pytest.fixture(scope="module", params=list(HOSTS))
def cri(
    request: pytest.FixtureRequest,
    session_name: str,
    session_folder: Path,
    pause_image: Path,
    busybox_image: Path,
    demo_image: Path,
    shims: Path,
) -> Iterator[Cri]:
    """containerd 1.6, 1.7 and 2 in turn, as kubelet sees them."""
    folder = Path(tempfile.mkdtemp(prefix="k", dir=session_folder))
    bridge = f"{session_name}"[:15]
    config = cri_config(folder, bridge)
    images = [pause_image, busybox_image, demo_image]
    with running_containerd(
        folder, HOSTS[request.param], namespace="k8s.io", images=images, cri_config=config, shims=shims
    ) as containerd:
        (folder / "logs").mkdir()
        client = Cri(containerd, cgroup_parent=f"/{session_name}", logs=folder / "logs")
        for image in (PAUSE_IMAGE, "localhost/busybox:latest", "localhost/wasi-demo-app:latest"):
            client.wait_for_image(image)
        yield client
        client.close()
    subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)
    remove_namespace_folders(session_name)


def cri_config(folder: Path, bridge: str) -> str:
    """Write the network's configuration and return that of the CRI plugin."""
    _write_network(folder, bridge)
    return _CONFIG.format(pause=PAUSE_IMAGE, folder=folder, runtime=OURS)


def _write_network(folder: Path, bridge: str) -> None:
    network = {
        "cniVersion": "0.4.0",
        "name": bridge,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(folder / "addresses"),
                    "ranges": [[{"subnet": "10.99.0.0/16"}]],
                },
            }
        ],
    }
    (folder / "cni").mkdir()
    (folder / "cni/10-bridge.conflist").write_text(json.dumps(network))


@pytest.fixture(params=["runwasi", "runc"] if MODE == "cold" else ["runwasi"])
def handler(request: pytest.FixtureRequest) -> str:
    """Our runtime class and runc's in turn: what both do alike, so that the test itself is proven too."""
    name: str = request.param
    return name
