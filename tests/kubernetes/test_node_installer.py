"""The DaemonSet of packaging/kubernetes, from its image: a label installs runwasi on a node, its loss takes it away.

The node's root is a folder without Python; its containerd is the cluster's own, which reads its configuration there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import runwasi
from devtools.cluster import NODE, Cluster
from devtools.kubectl import Kubectl
from devtools.places import ROOT
from devtools.processes import parent_of
from devtools.waiting import until
from scripts.node_installer.__main__ import PROGRAM
from tests.kubernetes.installer_node import InstallerNode
from tests.kubernetes.manifests import pod, wasm

_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
_IMAGE = ROOT / f"dist/runwasi-{PROGRAM}-{runwasi.__version__}-{_ARCH}.tar"
_LABEL = "runwasi.io/engine"
_INSTALLED = [
    "daemon-reload",
    "enable --now containerd-wasmtimed.socket containerd-wasmtimed.service",
    "restart containerd",
]
_REMOVED = [
    "restart containerd",
    "disable containerd-wasmtimed.socket containerd-wasmtimed.service",
    "stop --job-mode=ignore-dependencies containerd-wasmtimed.socket",
    "stop --no-block containerd-wasmtimed.service",
    "daemon-reload",
]


@pytest.fixture(scope="session")
def _image(cluster: Cluster) -> None:
    assert _IMAGE.exists(), f"make installer-image first: there is no {_IMAGE}"
    cluster.containerd.import_image(_IMAGE)


@pytest.fixture
def node(
    cluster: Cluster, _image: None, session_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InstallerNode]:
    """The node with no runtime of ours, and without the label; as it was in the end."""
    folder = session_folder / "installer"
    folder.mkdir()
    folder.chmod(0o711)
    node = InstallerNode(cluster, folder)
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(folder / "daemon/manager.sock"))
    _unlabel(cluster)
    try:
        node.prepare()
        _restart(cluster)
        with node.systemd():
            yield node
            cluster.kubectl("delete", "namespace", "runwasi", "--ignore-not-found", "--wait")
    finally:
        node.remove()
        monkeypatch.undo()
        _restart(cluster)
        _label(cluster)


@pytest.fixture
def applied(cluster: Cluster, node: InstallerNode, session_folder: Path) -> None:
    """The installer and the RuntimeClasses, for this node's root instead of /."""
    overlay = session_folder / "installer/overlay"
    overlay.mkdir()
    container = {"PREFIX": str(node.prefix), **_api_server(cluster)}
    env = [{"name": name, "value": value} for name, value in container.items()]
    volumes = [{"name": "node", "hostPath": {"path": str(node.root)}}]
    patch = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "node-installer", "namespace": "runwasi"},
        "spec": {
            "template": {
                "spec": {
                    "initContainers": [{"name": "install", "env": env}],
                    "containers": [{"name": "stay", "env": env}],
                    "volumes": volumes,
                }
            }
        },
    }
    kustomization = {
        "resources": [os.path.relpath(ROOT / "packaging/kubernetes", overlay)],
        "patches": [{"patch": json.dumps(patch)}],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    cluster.kubectl.within("runwasi")("apply", f"--kustomize={overlay}")


def _api_server(cluster: Cluster) -> dict[str, str]:
    """Where pods find it: there is no proxy that would make the service's address one."""
    return {"KUBERNETES_SERVICE_HOST": cluster.files.address, "KUBERNETES_SERVICE_PORT": "6443"}


def _label(cluster: Cluster) -> None:
    cluster.kubectl("label", "node", NODE, f"{_LABEL}=wasmtime", "--overwrite")


def _unlabel(cluster: Cluster) -> None:
    cluster.kubectl("label", "node", NODE, f"{_LABEL}-")


def _restart(cluster: Cluster) -> None:
    cluster.containerd.stop()
    cluster.containerd.start()


def _installed(cluster: Cluster) -> None:
    within = cluster.kubectl.within("runwasi")
    until(lambda: within.get("pods")["items"], bool)
    within("rollout", "status", "daemonset/node-installer", "--timeout=90s")


def _gone(cluster: Cluster) -> None:
    within = cluster.kubectl.within("runwasi")
    within("wait", "--for=delete", "pods", "--all", "--timeout=120s")


def _runs_installed(cluster: Cluster, kubectl: Kubectl, name: str, prefix: Path) -> None:
    """Check that the program which serves a pod is one of those that were installed."""
    status = kubectl.get(f"pod/{name}")["status"]["containerStatuses"][0]
    pid = cluster.containerd.pid_of(status["containerID"].removeprefix("containerd://"))
    assert str(prefix) in Path(f"/proc/{parent_of(pid)}/maps").read_text()


@pytest.mark.usefixtures("applied")
def test_a_label_installs_and_its_loss_takes_all_back(
    cluster: Cluster, node: InstallerNode, kubectl: Kubectl
) -> None:
    before = node.files()
    _label(cluster)
    _installed(cluster)
    assert node.calls == _INSTALLED

    for runtime in ("wasmtime", "wasmtimed"):
        kubectl.apply(pod(runtime, wasm(), runtime=runtime))
        kubectl.wait(f"pod/{runtime}", "condition=Ready")
        _runs_installed(cluster, kubectl, runtime, node.prefix)
        kubectl("delete", "pod", runtime, "--grace-period=1", "--wait")

    node.calls.clear()
    _unlabel(cluster)
    _gone(cluster)
    assert node.calls == _REMOVED
    assert node.files() == before


@pytest.mark.usefixtures("applied")
def test_a_pod_outlives_the_installation_and_can_be_deleted(
    cluster: Cluster, node: InstallerNode, kubectl: Kubectl
) -> None:
    _label(cluster)
    _installed(cluster)
    kubectl.apply(pod("song", wasm()))
    kubectl.wait("pod/song", "condition=Ready")

    _unlabel(cluster)
    _gone(cluster)

    assert kubectl("logs", "song").stdout != ""
    kubectl("delete", "pod", "song", "--grace-period=1", "--wait")
    until((node.prefix / "lib/runwasi").exists, lambda there: not there)


@pytest.mark.usefixtures("applied")
def test_a_failed_restart_is_taken_back_and_tried_again(cluster: Cluster, node: InstallerNode) -> None:
    node.failing = 1
    _label(cluster)
    _installed(cluster)
    restart = _INSTALLED[-1]
    # The restart that failed, one without our runtimes again, and one with them. The units stay.
    assert node.calls == [*_INSTALLED, restart, restart]
    within = cluster.kubectl.within("runwasi")
    said = within("logs", "daemonset/node-installer", "--container=install").stdout
    assert "install has failed, and is tried again in 1 s" in said


@pytest.mark.usefixtures("applied")
def test_a_new_version_of_the_daemonset_takes_nothing_away(cluster: Cluster, node: InstallerNode) -> None:
    _label(cluster)
    _installed(cluster)
    node.calls.clear()
    before = node.files()

    cluster.kubectl.within("runwasi")("rollout", "restart", "daemonset/node-installer")
    _installed(cluster)

    assert node.calls == []
    assert node.files() == before


def test_the_image_has_one_program_beside_the_bundle() -> None:
    """The program is static: the image has no loader and no library but the bundle's."""
    manifest = subprocess.run(
        ["tar", "-xOf", _IMAGE, "manifest.json"], capture_output=True, check=True
    ).stdout
    layer = json.loads(manifest)[0]["Layers"][0]
    packed = subprocess.run(["tar", "-xOf", _IMAGE, layer], capture_output=True, check=True).stdout
    listed = subprocess.run(
        ["tar", "-tzf", "-"], input=packed, capture_output=True, check=True
    ).stdout.decode()
    beside = [name for name in listed.split() if not name.startswith("bundle/")]
    assert sorted(beside) == ["node-installer", "on_node.py"]
