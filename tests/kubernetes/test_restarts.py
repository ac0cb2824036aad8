"""Pods while the programs below them are restarted or killed."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from devtools.cluster import NODE, Cluster
from devtools.kubectl import Kubectl
from devtools.processes import parent_of
from devtools.waiting import until
from tests.kubernetes.manifests import deployment, native, wasm


def _running_mixed_pod(kubectl: Kubectl, runtime_class: str) -> str:
    kubectl.apply(deployment("mixed", wasm(), native("sleep 1000"), runtime=runtime_class))
    kubectl.wait("deployment/mixed", "condition=Available")
    name: str = kubectl.get("pods")["items"][0]["metadata"]["name"]
    return name


def _containers(kubectl: Kubectl, pod: str) -> dict[str, Any]:
    """The containers' ids, by their names."""
    statuses = kubectl.get(f"pod/{pod}")["status"]["containerStatuses"]
    return {status["name"]: status["containerID"] for status in statuses}


def _pods_of_kubelet(cluster: Cluster) -> set[str]:
    """Return the names of the pods that kubelet has been told of: none at first, and none while it starts."""
    told = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/pods", check=False).stdout
    return {pod["metadata"]["name"] for pod in json.loads(told or "{}").get("items") or ()}


def test_pods_go_on_while_containerd_and_kubelet_are_restarted(
    cluster: Cluster, kubectl: Kubectl, runtime_class: str
) -> None:
    pod = _running_mixed_pod(kubectl, runtime_class)
    before = _containers(kubectl, pod)

    cluster.kubelet.stop()
    cluster.containerd.stop()
    cluster.containerd.start()
    cluster.kubelet.start()

    until(lambda: _pods_of_kubelet(cluster), lambda pods: pod in pods)
    cluster.kubectl.wait(f"node/{NODE}", "condition=Ready")
    assert kubectl("exec", pod, "--container=native", "--", "echo", "here").stdout == "here\n"
    assert _containers(kubectl, pod) == before


def test_a_pod_whose_server_is_killed_is_made_anew(cluster: Cluster, kubectl: Kubectl) -> None:
    pod = _running_mixed_pod(kubectl, "wasmtime")
    before = _containers(kubectl, pod)

    os.kill(_server_of(cluster, before["wasm"].removeprefix("containerd://")), signal.SIGKILL)

    until(
        lambda: _containers(kubectl, pod),
        lambda now: set(now) == set(before) and not set(now.values()) & set(before.values()),
        seconds=90,
    )
    kubectl.wait("deployment/mixed", "condition=Available")


def _server_of(cluster: Cluster, container: str) -> int:
    """The server of the container's pod: what its init's parent is."""
    return parent_of(cluster.containerd.pid_of(container))


def test_pods_are_served_again_after_the_node_daemon_is_killed(
    cluster: Cluster, kubectl: Kubectl, runtime_class: str
) -> None:
    pod = _running_mixed_pod(kubectl, runtime_class)
    cluster.daemon.stop(signal.SIGKILL)
    cluster.daemon.start()

    kubectl("delete", "pod", pod, "--grace-period=1")
    kubectl("rollout", "status", "deployment/mixed", "--timeout=90s")
    [new] = until(lambda: kubectl.get("pods")["items"], lambda pods: len(pods) == 1)
    assert new["metadata"]["name"] != pod
