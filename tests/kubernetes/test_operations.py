"""An operator's work with a running pod: logs, exec, attach, port-forward."""

from __future__ import annotations

import json
import subprocess

from devtools.cluster import NODE
from devtools.kubectl import Kubectl
from devtools.waiting import until
from tests.kubernetes.images import DEMO
from tests.kubernetes.manifests import native, pod, wasm


def test_logs_are_a_modules_output(kubectl: Kubectl, runtime_class: str) -> None:
    kubectl.apply(pod("once", wasm("echo", "hello"), runtime=runtime_class, restartPolicy="Never"))
    kubectl.wait("pod/once", "jsonpath={.status.phase}=Succeeded")

    assert kubectl("logs", "once").stdout == "hello\nexiting\n"


def test_a_native_command_is_executed_beside_a_module(kubectl: Kubectl, runtime_class: str) -> None:
    kubectl.apply(pod("song", wasm(), runtime=runtime_class))
    kubectl.wait("pod/song", "condition=Ready")

    done = kubectl(
        "exec", "song", "-i", "--", "sh", "-c", "cat; echo $0 >&2; exit 7", stdin="in", check=False
    )
    assert (done.returncode, done.stdout) == (7, "in")
    assert done.stderr.startswith("sh\n")


def test_attach_shows_what_a_module_prints_and_passes_input_on(kubectl: Kubectl, runtime_class: str) -> None:
    reads = native("read line; echo got $line; sleep 1000", stdin=True)
    kubectl.apply(pod("both", wasm(), reads, runtime=runtime_class))
    kubectl.wait("pod/both", "condition=Ready")

    assert _first_line_attached(kubectl, "wasm") != ""
    assert _first_line_attached(kubectl, "native", "word\n") == "got word\n"


def _first_line_attached(kubectl: Kubectl, container: str, stdin: str = "") -> str:
    command = kubectl.command("attach", "both", f"--container={container}", *(["--stdin"] if stdin else []))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as attached:  # type: ignore[call-overload]
        attached.stdin.write(stdin)
        attached.stdin.flush()
        line: str = attached.stdout.readline()
        attached.kill()
    return line


def test_kubelet_counts_a_modules_memory_and_cpu(kubectl: Kubectl, runtime_class: str) -> None:
    kubectl.apply(pod("song", wasm(), native("sleep 1000"), runtime=runtime_class))
    kubectl.wait("pod/song", "condition=Ready")

    def counted() -> dict[str, int]:
        summary = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/stats/summary").stdout)
        return {
            container["name"]: container["memory"]["workingSetBytes"]
            for entry in summary["pods"]
            if entry["podRef"]["namespace"] == kubectl.namespace
            for container in entry["containers"]
            if container.get("cpu", {}).get("usageCoreNanoSeconds")
        }

    seen = until(counted, lambda seen: {"wasm", "native"} <= set(seen))
    assert 0 < seen["wasm"] < 64 << 20


def test_a_module_is_resized_in_place(kubectl: Kubectl, runtime_class: str) -> None:
    before = {"memory": "64Mi", "cpu": "100m"}
    kubectl.apply(pod("song", wasm(resources={"limits": before, "requests": before}), runtime=runtime_class))
    kubectl.wait("pod/song", "condition=Ready")

    after = {"memory": "128Mi", "cpu": "200m"}
    resources = {"limits": after, "requests": after}
    patch = json.dumps({"spec": {"containers": [{"name": "wasm", "resources": resources}]}})
    kubectl("patch", "pod", "song", "--subresource=resize", f"--patch={patch}")

    status = until(
        lambda: kubectl.get("pod/song")["status"]["containerStatuses"][0],
        lambda status: status.get("resources", {}).get("limits") == after,
    )
    assert status["restartCount"] == 0


def test_a_restricted_namespace_admits_and_runs_a_module(kubectl: Kubectl, runtime_class: str) -> None:
    kubectl("label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted")
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
        "readOnlyRootFilesystem": True,
    }
    module = wasm("echo", "hello", securityContext=context)
    beside = native("id -u", securityContext=context) | {"image": DEMO}
    kubectl.apply(pod("tight", module, beside, runtime=runtime_class, restartPolicy="Never"))
    kubectl.wait("pod/tight", "jsonpath={.status.phase}=Succeeded")

    assert kubectl("logs", "tight", "--container=wasm").stdout == "hello\nexiting\n"
    assert kubectl("logs", "tight", "--container=native").stdout == "1000\n"
