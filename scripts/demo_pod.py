"""Runs the part of `make demo` that needs pods: a wasm OCI artifact, as kubelet would run it."""

from __future__ import annotations

from pathlib import Path

from devtools.containerd import HOSTS, remove_namespace_folders, running_containerd
from devtools.cri import Cri, api
from devtools.oci_image import busybox_layer, write_image

_PAUSE = "localhost/pause:latest"
_CONFIG = f"""
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{_PAUSE}"
  # Machines that keep CAP_SYS_RESOURCE from us let nobody lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmtime]
    runtime_type = "io.containerd.wasmtime.v1"
"""


def run_in_pod(folder: Path, session: str, archive: Path, image: str, command: list[str]) -> list[str]:
    """Run one container of an image in a pod on the host's network; returns what it printed."""
    pause = folder / "pause.tar"
    write_image(pause, _PAUSE, busybox_layer(), command=["/bin/sleep", "infinity"])
    (folder / "logs").mkdir()
    with running_containerd(
        folder / "cri", HOSTS["2"], namespace="k8s.io", images=[pause], cri_config=_CONFIG
    ) as containerd:
        containerd.ctr("image", "import", "--all-platforms", archive)
        client = Cri(containerd, cgroup_parent=f"/{session}", logs=folder / "logs")
        for name in (_PAUSE, image):
            client.wait_for_image(name)
        host_network = api.NamespaceOption(network=api.NODE)
        security = api.LinuxSandboxSecurityContext(namespace_options=host_network)
        with client.pod("wasmtime", security=security) as pod:
            program, *arguments = command
            container = pod.run(
                image,
                [program],
                arguments,
                security=api.LinuxContainerSecurityContext(namespace_options=host_network),
            )
            container.wait()
            lines = container.log_lines(1)
        client.close()
    remove_namespace_folders(session)
    return lines
