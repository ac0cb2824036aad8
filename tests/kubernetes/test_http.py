"""A component that serves HTTP: its probes, and a connection through the API server."""

from __future__ import annotations

import re
import subprocess
import urllib.request

import pytest

from devtools.kubectl import Kubectl
from devtools.waiting import until
from tests.kubernetes.load import under_load
from tests.kubernetes.manifests import Json, deployment, http_component, native, service


def _fetch(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def test_probes_make_a_component_ready_and_keep_it(kubectl: Kubectl, runtime_class: str) -> None:
    kubectl.apply(deployment("web", http_component(), runtime=runtime_class))
    kubectl.wait("deployment/web", "condition=Available")

    [pod] = kubectl.get("pods")["items"]
    assert _fetch(f"{pod['status']['podIP']}:8080") == "Hello, world!\n"
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_port_is_forwarded_to_a_component(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", http_component()))
    kubectl.wait("deployment/web", "condition=Available")

    command = kubectl.command("port-forward", "deployment/web", ":8080")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        try:
            assert forwarding.stdout
            said = re.search(r"127\.0\.0\.1:\d+", forwarding.stdout.readline())
            assert said
            assert _fetch(said[0]) == "Hello, world!\n"
        finally:
            forwarding.kill()


def _native_server() -> Json:
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    return native("echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp", readinessProbe=probe)


@pytest.mark.parametrize("server", ["wasmtime", "wasmtimed", "native"])
def test_a_rolling_update_fails_no_request(kubectl: Kubectl, server: str) -> None:
    container = _native_server() if server == "native" else http_component()
    # As long as it takes until all clients know that the pod is about to end.
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 2}}}
    runtime = None if server == "native" else server
    kubectl.apply(deployment("web", container, runtime=runtime, replicas=2), service("web", 8080))
    kubectl.wait("deployment/web", "condition=Available")

    with under_load(kubectl, "web", 8080) as load:
        before = set(load.addresses)
        kubectl("rollout", "restart", "deployment/web")
        kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        until(lambda: set(load.addresses), lambda now: len(now) == 2 and not now & before)

    assert load.failed == []
    assert load.answered > 0
