"""Runs the part of `make demo` that needs pods: wasm and native containers in one, as kubelet would run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from devtools.containerd import HOSTS, remove_namespace_folders, running_containerd
from devtools.cri import Container, Cri, Pod, api
from devtools.oci_image import busybox_layer, write_image

_PAUSE = "localhost/pause:latest"
_HOST_NETWORK = api.NamespaceOption(network=api.NODE)
_CONFIG = f"""
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{_PAUSE}"
  # Machines that keep CAP_SYS_RESOURCE from us let nobody lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmtime]
    runtime_type = "io.containerd.wasmtime.v1"
"""


class Beside(NamedTuple):
    """A container of the pod: its image, the archive that holds it, and the words of its command."""

    image: str
    archive: Path
    command: Sequence[str]


def run_in_pod(folder: Path, session: str, containers: Sequence[Beside]) -> list[list[str]]:
    """Run the containers in one pod on the host's network; return the lines that each printed."""
    pause = folder / "pause.tar"
    write_image(pause, _PAUSE, busybox_layer(), command=["/bin/sleep", "infinity"])
    (folder / "logs").mkdir()
    with running_containerd(
        folder / "cri", HOSTS["2"], namespace="k8s.io", images=[pause], cri_config=_CONFIG
    ) as containerd:
        for each in containers:
            containerd.ctr("image", "import", "--all-platforms", each.archive)
        client = Cri(containerd, cgroup_parent=f"/{session}", logs=folder / "logs")
        for name in (_PAUSE, *(each.image for each in containers)):
            client.wait_for_image(name)
        security = api.LinuxSandboxSecurityContext(namespace_options=_HOST_NETWORK)
        with client.pod("wasmtime", security=security) as pod:
            started = [_start(pod, each) for each in containers]
            printed = [_output(each) for each in started]
        client.close()
    remove_namespace_folders(session)
    return printed


def _start(pod: Pod, wanted: Beside) -> Container:
    program, *arguments = wanted.command
    security = api.LinuxContainerSecurityContext(namespace_options=_HOST_NETWORK)
    return pod.run(wanted.image, [program], arguments, security=security)


def _output(container: Container) -> list[str]:
    container.wait()
    return container.log_lines(1)
