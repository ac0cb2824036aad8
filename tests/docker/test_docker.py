"""Docker with our shim, and with our command line as its OCI runtime: what people do with `docker run`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devtools.containerd import WASMTIME
from devtools.waiting import until
from tests.docker.images import BUSYBOX, DEMO, HTTP, LAYERS
from tests.support.container_engines import ContainerEngine
from tests.support.memory import memory_limit

_FOREVER = ("sh", "-c", "trap 'exit 6' TERM; echo ready; while true; do sleep 1000 & wait; done")
_BOTH = pytest.mark.parametrize("runtime", [WASMTIME, "runwasi"])


@contextmanager
def _detached(docker: ContainerEngine, runtime: str, *words: str) -> Iterator[str]:
    """A container that runs in the background, removed in the end."""
    container = docker("run", "--detach", "--runtime", runtime, *words).stdout.strip()
    try:
        yield container
    finally:
        docker("rm", "--force", container)


def _inspect(docker: ContainerEngine, container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", container).stdout)[0]
    return found


def _until_state(
    docker: ContainerEngine, container: str, wanted: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    return until(lambda: _inspect(docker, container), lambda found: wanted(found["State"]))


def test_a_module_in_a_layer_runs_for_its_platform(docker: ContainerEngine) -> None:
    options = ("--rm", "--network", "none", "--runtime", WASMTIME, "--platform", "wasip1/wasm")
    assert docker("run", *options, LAYERS, "echo", "hello").stdout == "hello\nexiting\n"


@_BOTH
def test_a_modules_output_and_exit_status_are_dockers(docker: ContainerEngine, runtime: str) -> None:
    with _detached(
        docker, runtime, "--network", "none", DEMO, "/wasi-demo-app.wasm", "exit", "7"
    ) as container:
        assert docker("wait", container).stdout == "7\n"
    with _detached(
        docker, runtime, "--network", "none", DEMO, "/wasi-demo-app.wasm", "echo", "logged"
    ) as container:
        docker("wait", container)
        assert docker("logs", container).stdout == "logged\nexiting\n"


@_BOTH
def test_a_native_container_is_entered_and_stopped(docker: ContainerEngine, runtime: str) -> None:
    with _detached(docker, runtime, "--network", "none", BUSYBOX, *_FOREVER) as container:
        until(lambda: docker("logs", container).stdout, lambda output: output == "ready\n")
        done = docker("exec", "--interactive", container, "sh", "-c", "cat; exit 4", check=False, stdin="in")
        assert (done.stdout, done.returncode) == ("in", 4)
        docker("stop", "--time", "30", container)
        assert _inspect(docker, container)["State"]["ExitCode"] == 6


@_BOTH
def test_a_module_that_fails_is_restarted_as_its_policy_says(docker: ContainerEngine, runtime: str) -> None:
    words = ("--network", "none", "--restart", "on-failure:2", DEMO, "/wasi-demo-app.wasm", "exit", "3")
    with _detached(docker, runtime, *words) as container:
        found = until(
            lambda: _inspect(docker, container),
            lambda found: found["State"]["Status"] == "exited" and found["RestartCount"] == 2,
        )
    assert found["State"]["ExitCode"] == 3


@_BOTH
def test_a_health_check_runs_beside_a_module(docker: ContainerEngine, runtime: str) -> None:
    words = ("--network", "none", "--health-cmd", "test -x /wasi-demo-app.wasm", "--health-interval", "1s")
    with _detached(docker, runtime, *words, DEMO, "/wasi-demo-app.wasm", "daemon") as container:
        _until_state(docker, container, lambda state: state["Health"]["Status"] == "healthy")
        docker("stop", "--time", "0", container)


@_BOTH
def test_limits_are_those_of_the_cgroup(docker: ContainerEngine, runtime: str) -> None:
    words = (
        "--network",
        "none",
        "--memory",
        "64m",
        "--pids-limit",
        "50",
        DEMO,
        "/wasi-demo-app.wasm",
        "daemon",
    )
    with _detached(docker, runtime, *words) as container:
        pid = _inspect(docker, container)["State"]["Pid"]
        assert memory_limit(pid) == 64 << 20
        docker("update", "--memory", "100m", "--memory-swap", "200m", container)
        assert memory_limit(pid) == 100 << 20


@_BOTH
def test_containers_of_a_network_find_a_component_by_its_name(docker: ContainerEngine, runtime: str) -> None:
    network = f"net-{runtime.rpartition('.')[2]}"
    docker("network", "create", network)
    try:
        with _detached(docker, runtime, "--network", network, "--name", "web", HTTP):
            client = ("run", "--rm", "--runtime", runtime, "--network", network, BUSYBOX, "sh", "-c")
            ask = "until wget -q -O - http://web:8080/; do sleep 0.1; done"
            assert docker(*client, ask).stdout == "Hello, world!\n"
    finally:
        docker("network", "rm", network)
