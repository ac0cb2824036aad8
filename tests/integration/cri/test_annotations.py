"""Annotations of a pod, as far as containerd's configuration passes them on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from devtools.cri import Cri
from tests.integration.conftest import DEMO_IMAGE

SECCOMP = "io.runwasi.unsafe.seccomp"


@pytest.fixture
def node(cri: Cri) -> Iterator[Path]:
    """The node's configuration; there is none unless the test writes it."""
    path = cri.containerd.node_configuration
    yield path
    path.unlink(missing_ok=True)


def test_a_pods_annotation_reaches_the_guest(cri: Cri) -> None:
    with cri.pod("runwasi", annotations={"io.runwasi.fuel": "1000"}) as pod:
        container = pod.run(DEMO_IMAGE, [], ["echo", "hello"])
        assert container.wait() == 134
        assert "all fuel consumed by WebAssembly" in container.log_lines(1)[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [(SECCOMP, "this node does not allow it"), ("io.runwasi.fule", "did you mean io.runwasi.fuel?")],
)
def test_a_tenants_pod_does_not_run_with_what_is_not_allowed(cri: Cri, name: str, why: str) -> None:
    with pytest.raises(grpc.RpcError, match=why), cri.pod("runwasi", annotations={name: "unconfined"}):
        pass


def test_annotations_that_the_node_allows_hold_for_containers_and_execs(cri: Cri, node: Path) -> None:
    node.write_text(f'unsafe_annotations = ["{SECCOMP}"]')
    with cri.pod("runwasi", annotations={SECCOMP: "unconfined"}) as pod:
        container = pod.run(DEMO_IMAGE, [], ["sleep", "100"])
        status = Path(f"/proc/{container.pid()}/status").read_text()
        assert "Seccomp:\t0\n" in status
        done = container.exec("/wasi-demo-app.wasm", "echo", "hello")
        assert (done.exit_code, done.stdout) == (0, b"hello\nexiting\n")
        node.unlink()
        with pytest.raises(grpc.RpcError, match="this node does not allow it"):
            container.exec("/wasi-demo-app.wasm", "echo", "hello")
