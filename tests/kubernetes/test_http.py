"""A component that serves HTTP: its probes, and a connection through the API server."""

from __future__ import annotations

import re
import subprocess
import urllib.request

from devtools.kubectl import Kubectl
from tests.kubernetes.manifests import deployment, http_component


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
