"""Objects as the API server takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.kubernetes.images import BUSYBOX, DEMO, HTTP

Json = dict[str, Any]


def pod(name: str, *containers: Json, runtime: str | None = "wasmtime", **spec: Any) -> Json:
    """A pod; without a runtime it is runc's. An annotation of ours is given as `annotations`."""
    metadata = {"name": name, "annotations": spec.pop("annotations", {}), "labels": {"app": name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": pod_spec(containers, runtime, spec),
    }


def deployment(
    name: str, *containers: Json, runtime: str | None = "wasmtime", replicas: int = 1, **spec: Any
) -> Json:
    """A deployment that always keeps as many pods available as it has replicas."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(containers, runtime, spec)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }


def job(name: str, *containers: Json, completions: int, **spec: Any) -> Json:
    """A job whose pods are not restarted."""
    template = {"spec": pod_spec(containers, "wasmtime", {"restartPolicy": "Never", **spec})}
    members = {
        "completions": completions,
        "parallelism": completions,
        "backoffLimit": 0,
        "template": template,
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": members}


def config(kind: str, name: str, **values: str) -> Json:
    """A ConfigMap or a Secret."""
    member = "stringData" if kind == "Secret" else "data"
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, member: values}


def service(app: str, port: int) -> Json:
    """A service over the pods of a deployment."""
    spec = {"selector": {"app": app}, "ports": [{"port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": app}, "spec": spec}


def pod_spec(containers: Sequence[Json], runtime: str | None, more: Json) -> Json:
    """A pod's spec that ends at once and whose containers mount no token."""
    spec = {
        "containers": list(containers),
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        **more,
    }
    return spec | {"runtimeClassName": runtime} if runtime else spec


def wasm(*arguments: str, name: str = "wasm", image: str = DEMO, **members: Any) -> Json:
    """A container of the demo's module, or of another image with the module's path first."""
    command = list(arguments) if image != DEMO else ["/wasi-demo-app.wasm", *arguments]
    return _container(name, image, command, members)


def native(script: str, name: str = "native", **members: Any) -> Json:
    """A container of busybox's shell."""
    return _container(name, BUSYBOX, ["sh", "-c", script], members)


def http_component(port: int = 8080, **members: Any) -> Json:
    """A container that serves HTTP by a component, with probes that ask it."""
    probe = {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1}
    address = {"name": "WASMTIME_HTTP_PROXY_SOCKET_ADDR", "value": f"0.0.0.0:{port}"}
    serving = {
        "env": [address],
        "ports": [{"containerPort": port}],
        "readinessProbe": probe,
        "livenessProbe": probe | {"timeoutSeconds": 5, "failureThreshold": 10},
    }
    return _container("http", HTTP, ["/hello.wasm"], serving | members)


def _container(name: str, image: str, command: list[str], members: Json) -> Json:
    return {"name": name, "image": image, "imagePullPolicy": "Never", "command": command, **members}
