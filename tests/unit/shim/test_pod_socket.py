"""Where a pod's server listens."""

from __future__ import annotations

import hashlib

import pytest

from runwasi.shim.pod_socket import socket_path

CONTAINERD = "/run/containerd/containerd.sock"


def test_the_path_is_that_of_containerds_own_shims() -> None:
    digest = hashlib.sha256(f"{CONTAINERD}/k8s.io/pod".encode()).hexdigest()
    assert socket_path(CONTAINERD, "k8s.io", "pod") == f"/run/containerd/s/{digest}"


@pytest.mark.parametrize(
    "group", [f"{CONTAINERD}/k8s.io/pod", "/pod", "../k8s.io/pod", "pod/../../k8s.io/pod"]
)
def test_a_group_that_an_annotation_names_is_of_its_own_namespace(group: str) -> None:
    others = {socket_path(CONTAINERD, "k8s.io", name) for name in ("pod", "/pod")}
    assert socket_path(CONTAINERD, "another", group) not in others
