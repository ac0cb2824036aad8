"""The cluster reports modules that fail."""

from __future__ import annotations

from typing import Any

from devtools.kubectl import Kubectl
from devtools.waiting import until
from tests.kubernetes.images import GUESTS
from tests.kubernetes.manifests import pod, wasm


def _container_status(kubectl: Kubectl, name: str) -> Any:
    return kubectl.get(f"pod/{name}")["status"].get("containerStatuses", [{}])[0]


def test_a_trap_crash_loops_with_134_and_its_reason(kubectl: Kubectl, runtime_class: str) -> None:
    trap = wasm("/trap.wasm", image=GUESTS, terminationMessagePolicy="FallbackToLogsOnError")
    kubectl.apply(pod("trap", trap, runtime=runtime_class))

    status = until(
        lambda: _container_status(kubectl, "trap"),
        lambda status: status.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff",
        seconds=90,
    )
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (134, "Error")
    assert "unreachable" in ended["message"]


def test_a_module_that_outgrows_its_limit_is_oomkilled(kubectl: Kubectl, runtime_class: str) -> None:
    greedy = wasm("/greedy.wasm", image=GUESTS, resources={"limits": {"memory": "64Mi"}})
    only_the_cgroup = {"io.runwasi.memory.trap": "off"}
    kubectl.apply(
        pod("greedy", greedy, runtime=runtime_class, annotations=only_the_cgroup, restartPolicy="Never")
    )
    kubectl.wait("pod/greedy", "jsonpath={.status.phase}=Failed")

    ended = _container_status(kubectl, "greedy")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
