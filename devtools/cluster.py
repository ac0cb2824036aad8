"""Runs a Kubernetes of one node: etcd, the control plane and kubelet over a private containerd, in its own folder.

The node's address is that of a bridge, which loopback's cannot be; its pods hang on the same bridge. Nothing of
it is reachable from other machines.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from devtools.cluster_files import Files
from devtools.containerd import HOSTS, Containerd, readiness_socket, wait_until_ready
from devtools.cri import Cri, api
from devtools.kubectl import Kubectl
from devtools.places import BIN, CACHE
from devtools.waiting import until

PROGRAMS = CACHE / "kubernetes"
_ETCD = CACHE / "etcd/usr/bin/etcd"
_STOP_SECONDS = 30
NODE = "node"


class Program:
    """One of the cluster's programs, whose output goes to a log."""

    def __init__(self, folder: Path, *command: str | Path, ready: bool = False, **environment: str) -> None:
        self.name = Path(command[0]).name
        self.log = folder / f"{self.name}.log"
        self._command = command
        self._ready = folder / f"{self.name}.notify" if ready else None
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its pid; only between start() and stop()."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it says that it serves, if it is one that does."""
        if self._ready is None:
            self._process = self._popen({})
            return
        with readiness_socket(self._ready) as ready:
            self._process = self._popen({"NOTIFY_SOCKET": str(self._ready)})
            try:
                wait_until_ready(ready)
            except TimeoutError:
                tail = self.log.read_text()[-4000:]
                raise RuntimeError(f"{self.name} did not start; its log:\n{tail}") from None

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop it, if it runs."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_STOP_SECONDS)
            self._process = None

    def _popen(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                env=os.environ | self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


class Cluster:
    """A running cluster: made by running_cluster()."""

    def __init__(self, folder: Path, *, name: str, address: str) -> None:
        self.files = Files(folder, address, name)
        self.folder = folder
        self.containerd = Containerd(
            folder / "c", HOSTS["2"], namespace="k8s.io", cri_config=self.files.cri_config()
        )
        self.files.write(self.containerd.address)
        self.kubectl = Kubectl(PROGRAMS / "kubectl", self.files.kubeconfig)
        self.daemon = self._node_daemon()
        self.etcd = self._etcd()
        self.apiserver = self._apiserver()
        self.controllers = self._controllers()
        self.scheduler = self._client("kube-scheduler", "--leader-elect=false", "--secure-port=0")
        self.kubelet = self._kubelet()
        self._started: list[Program | Containerd] = []

    def start(self, images: Sequence[Path]) -> None:
        """Start everything, and return when the node is ready."""
        for program in (self.daemon, self.containerd, self.etcd, self.apiserver):
            self._start(program)
        for image in images:
            self.containerd.ctr("image", "import", "--all-platforms", image)
        until(self._is_served, bool)
        for program in (self.controllers, self.scheduler, self.kubelet):
            self._start(program)
        self.kubectl("wait", "--for=create", f"node/{NODE}", "--timeout=60s")
        self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")

    def stop(self) -> None:
        """Stop everything; pods that are still there are removed."""
        for program in reversed(self._started):
            if program is self.containerd:
                self._remove_pods()
            program.stop()
        self._started.clear()

    def logs(self) -> str:
        """The ends of all logs, for a failure's message."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))

    def _start(self, program: Program | Containerd) -> None:
        self._started.append(program)
        program.start()

    def _is_served(self) -> bool:
        return self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"

    def _remove_pods(self) -> None:
        client = Cri(self.containerd, cgroup_parent="", logs=self.folder)
        for pod in client.runtime.ListPodSandbox(api.ListPodSandboxRequest()).items:
            client.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod.id), timeout=60)
            client.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod.id), timeout=60)
        client.close()

    def _node_daemon(self) -> Program:
        socket = os.environ["RUNWASI_DAEMON_SOCKET"]
        return Program(self.folder, BIN / "containerd-wasmtimed", "-address", socket, ready=True)

    def _etcd(self) -> Program:
        clients, peers = (f"http://{self.files.address}:{port}" for port in (2379, 2380))
        return Program(
            self.folder,
            _ETCD,
            *("--data-dir", self.folder / "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
            ready=True,
        )

    def _apiserver(self) -> Program:
        files = self.files
        return Program(
            self.folder,
            PROGRAMS / "kube-apiserver",
            f"--etcd-servers=http://{files.address}:2379",
            f"--bind-address={files.address}",
            f"--advertise-address={files.address}",
            f"--cert-dir={files.certificates}",
            f"--token-auth-file={files.tokens}",
            "--authorization-mode=RBAC",
            "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.key}",
            f"--service-account-signing-key-file={files.key}",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--kubelet-preferred-address-types=InternalIP",
            ready=True,
        )

    def _controllers(self) -> Program:
        return self._client(
            "kube-controller-manager",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self.files.key}",
            f"--root-ca-file={self.files.certificates / 'apiserver.crt'}",
        )

    def _kubelet(self) -> Program:
        return self._client(
            "kubelet",
            f"--config={self.files.kubelet}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-certificates'}",
            f"--hostname-override={NODE}",
            f"--node-ip={self.files.address}",
            "--node-labels=runwasi.io/engine=wasmtime",
            ready=True,
        )

    def _client(self, program: str, *options: str, ready: bool = False) -> Program:
        kubeconfig = f"--kubeconfig={self.files.kubeconfig}"
        return Program(self.folder, PROGRAMS / program, kubeconfig, *options, ready=ready)


@contextlib.contextmanager
def running_cluster(folder: Path, *, name: str, images: Sequence[Path]) -> Iterator[Cluster]:
    """A cluster whose node holds the images; everything of it is gone in the end.

    NAME becomes the name of its bridge, at most 15 characters, and of the cgroup above its pods. With
    RUNWASI_DAEMON_SOCKET in the environment, its node daemon listens there.
    """
    from devtools.cluster_node import prepared_node  # late: it needs root

    with prepared_node(folder, name) as address:
        cluster = Cluster(folder, name=name, address=address)
        try:
            cluster.start(images)
            yield cluster
        finally:
            cluster.stop()
