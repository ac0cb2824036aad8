"""Writes the files that a cluster of one node reads: accounts, keys, configuration, and the network's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

PAUSE_IMAGE = "localhost/pause:latest"
_TOKEN = "runwasi-tests"  # of a server that only this machine reaches

# kubelet's root must be one's own, as its cgroups and its bridge; and here nobody may lower oom_score_adj.
_CRI = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmtime]
      runtime_type = "io.containerd.wasmtime.v1"
      pod_annotations = ["io.runwasi.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmtimed]
      runtime_type = "io.containerd.wasmtimed.v1"
      pod_annotations = ["io.runwasi.*"]
"""


class Files(NamedTuple):
    """Where a cluster keeps its files, its node's address, and the name of its bridge and cgroup."""

    folder: Path
    address: str
    name: str

    @property
    def kubeconfig(self) -> Path:
        """Return the file that tells clients where the API server is, and who they are."""
        return self.folder / "kubeconfig"

    @property
    def certificates(self) -> Path:
        """Return the folder in which the API server writes its self-signed certificate."""
        return self.folder / "certificates"

    @property
    def tokens(self) -> Path:
        """The API server's one account."""
        return self.folder / "tokens.csv"

    @property
    def key(self) -> Path:
        """Return the path of the key that signs the tokens of service accounts."""
        return self.folder / "service-accounts.key"

    @property
    def kubelet(self) -> Path:
        """kubelet's configuration."""
        return self.folder / "kubelet.json"

    def write(self, containerd: Path) -> None:
        """Write all of them; kubelet is to use the containerd with that socket."""
        self.tokens.write_text(f'{_TOKEN},admin,admin,"system:masters"\n')
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, stderr=subprocess.DEVNULL)
        self.kubeconfig.write_text(json.dumps(self._kubeconfig()))
        self.kubelet.write_text(json.dumps(self._kubelet_configuration(containerd)))
        (self.folder / "resolv.conf").write_text("")
        (self.folder / "cni").mkdir()
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps(self._network()))

    def cri_config(self) -> str:
        """The CRI plugin's part of containerd's configuration: RuntimeClasses wasmtime and wasmtimed, and runc."""
        return _CRI.format(pause=PAUSE_IMAGE, folder=self.folder)

    def _kubeconfig(self) -> dict[str, object]:
        server = {
            "server": f"https://{self.address}:6443",
            "certificate-authority": str(self.certificates / "apiserver.crt"),
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": "admin", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
            "current-context": "tests",
        }

    def _kubelet_configuration(self, containerd: Path) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "healthzPort": 0,
            "containerRuntimeEndpoint": f"unix://{containerd}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "maxOpenFiles": 20000,
            "clusterDNS": [self.address],
            "resolvConf": str(self.folder / "resolv.conf"),
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "makeIPTablesUtilChains": False,  # they are the machine's
            # How full the machine's disk is must not decide where a test's pods run.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
        }

    def _network(self) -> dict[str, object]:
        subnet = f"{self.address.rpartition('.')[0]}.0/24"
        bridge = {
            "type": "bridge",
            "bridge": self.name,
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.folder / "addresses"),
                "ranges": [[{"subnet": subnet, "gateway": self.address}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        return {"cniVersion": "1.0.0", "name": self.name, "plugins": [bridge]}
