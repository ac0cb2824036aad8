"""Deployments and jobs, with wasm and native containers in one pod."""

from __future__ import annotations

from devtools.kubectl import Kubectl
from devtools.places import ROOT
from devtools.waiting import until
from tests.kubernetes.images import ARTIFACT
from tests.kubernetes.manifests import deployment, job, native, wasm

_SAMPLE = ROOT / "packaging/kubernetes/sample.yaml"


def test_the_sample_becomes_available_and_scales(kubectl: Kubectl) -> None:
    kubectl("apply", f"--filename={_SAMPLE}")
    kubectl("rollout", "status", "deployment/wasm-beside-native", "--timeout=90s")

    kubectl("scale", "deployment/wasm-beside-native", "--replicas=3")
    kubectl("rollout", "status", "deployment/wasm-beside-native", "--timeout=90s")

    lines = kubectl("logs", "deployment/wasm-beside-native", "--container=wasm").stdout
    assert lines.startswith("A module came sailing, so small and so light,\n")
    kubectl("scale", "deployment/wasm-beside-native", "--replicas=1")
    until(lambda: len(kubectl.get("pods")["items"]), lambda count: count == 1)


def test_a_mixed_deployment_becomes_available_under_each_runtime_class(
    kubectl: Kubectl, runtime_class: str
) -> None:
    kubectl.apply(deployment("mixed", wasm(), native("sleep 1000"), runtime=runtime_class, replicas=2))
    kubectl.wait("deployment/mixed", "condition=Available")


def test_a_wasm_artifact_runs_as_a_deployment(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("demo", wasm("/wasi-demo-app.wasm", image=ARTIFACT)))
    kubectl.wait("deployment/demo", "condition=Available")

    until(lambda: kubectl("logs", "deployment/demo").stdout, lambda text: "so small and so light" in text)


def test_a_job_completes(kubectl: Kubectl) -> None:
    kubectl.apply(job("hello", wasm("echo", "hello"), completions=3))
    kubectl.wait("job/hello", "condition=Complete")

    assert kubectl.get("job/hello")["status"]["succeeded"] == 3
    assert kubectl("logs", "job/hello").stdout == "hello\nexiting\n"


def test_a_job_whose_module_exits_with_an_error_fails(kubectl: Kubectl) -> None:
    kubectl.apply(job("fails", wasm("exit", "3"), completions=1))
    kubectl.wait("job/fails", "condition=Failed")

    [pod] = kubectl.get("pods", "--selector=job-name=fails")["items"]
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
