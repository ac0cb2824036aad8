"""Measure what a pod's server takes, for the RuntimeClasses' podFixed: python -m tests.kubernetes.pod_overhead [PODS]

In a Kubernetes of one node, with the programs of RUNWASI_BIN or the work tree's. Each pod has one wasm container.
Neither the pause container nor the guest counts. In normal mode it is the Pss of the pod's server, for which
processes that share a page have a part of it each, with and without a node daemon. In shared mode it is what the
daemon's Rss grows by, divided by the pods: its Pss falls, as guests are forks of it. Source: man 5
proc_pid_smaps_rollup.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import uuid
from pathlib import Path

from devtools.cluster import Cluster, running_cluster
from devtools.cluster_files import PAUSE_IMAGE
from devtools.cluster_node import become_the_only_node
from devtools.folders import remove_folder
from devtools.places import BIN, ROOT, SESSION_VARIABLE
from devtools.processes import parent_of
from tests.kubernetes.images import write_images
from tests.kubernetes.manifests import deployment, wasm

_PODS = 20


def measure(cluster: Cluster, pods: int) -> None:
    """Print a line for each mode, in KiB for each pod."""
    daemon = cluster.daemon.pid
    before = _memory(daemon, "Rss")
    with _Pods(cluster, "wasmtimed", pods):
        print(f"shared mode: {(_memory(daemon, 'Rss') - before) / pods:.0f}")
    with _Pods(cluster, "wasmtime", pods) as servers:
        print(f"normal mode, forked by the node daemon: {statistics.median(map(_pss, servers)):.0f}")
    cluster.daemon.stop()
    with _Pods(cluster, "wasmtime", pods) as servers:
        print(f"normal mode, without a node daemon: {statistics.median(map(_pss, servers)):.0f}")


class _Pods:
    """Pods of one RuntimeClass that run; gives the pids of their servers."""

    def __init__(self, cluster: Cluster, runtime: str, count: int) -> None:
        self._cluster = cluster
        self._runtime = runtime
        self._count = count

    def __enter__(self) -> set[int]:
        kubectl = self._cluster.kubectl
        kubectl.apply(deployment("song", wasm(), runtime=self._runtime, replicas=self._count))
        kubectl("rollout", "status", "deployment/song", "--timeout=140s")
        tasks = self._cluster.containerd.ctr("task", "ls").stdout.splitlines()[1:]
        return {parent_of(int(line.split()[1])) for line in tasks}

    def __exit__(self, *_: object) -> None:
        kubectl = self._cluster.kubectl
        kubectl("delete", "deployment", "song")
        kubectl("wait", "--for=delete", "pods", "--all", "--timeout=140s")


def _pss(pid: int) -> int:
    return _memory(pid, "Pss")


def _memory(pid: int, kind: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))


def main() -> None:
    """Start the cluster, measure, and leave nothing behind."""
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else _PODS
    name = f"rw{uuid.uuid4().hex[:8]}"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.chmod(0o711)
    os.environ |= {
        SESSION_VARIABLE: name,
        "RUNWASI_DAEMON": "managed",
        "RUNWASI_DAEMON_SOCKET": str(folder / "daemon/manager.sock"),
    }
    node = become_the_only_node()
    try:
        print(json.dumps({"programs": str(BIN), "pods": pods}), flush=True)
        with running_cluster(
            folder, name=name, images=write_images(folder / "images", PAUSE_IMAGE)
        ) as cluster:
            cluster.kubectl("apply", f"--filename={ROOT / 'packaging/kubernetes/runtimeclass.yaml'}")
            measure(cluster, pods)
    finally:
        node.close()
        remove_folder(folder)


if __name__ == "__main__":
    main()
