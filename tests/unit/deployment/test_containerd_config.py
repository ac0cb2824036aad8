"""containerd's configuration as various installers leave it, with our runtimes in it and without.

No containerd is asked here; tests/integration/deployment/test_install_containerd.py asks three.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from unittest.mock import Mock

import pytest

from devtools.places import ROOT
from runwasi.deployment.containerd_config import ContainerdConfig
from runwasi.deployment.containerd_program import ContainerdProgram
from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.file_change import BACKUP
from runwasi.deployment.runtimes import SAFE_ANNOTATIONS, runtimes
from runwasi.deployment.target_node import TargetNode

_CRI2, _CRI3 = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
_NAME = "/etc/containerd/config.toml"
_WASMTIME = runtimes(["wasmtime"], shared=False)

# As each installer writes it, shortened to what matters for runtimes.
_SAMPLES = {
    "kubeadm": """\
# made by `containerd config default`, SystemdCgroup changed as kubeadm's pages say
version = 2
root = "/var/lib/containerd"
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.9"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
            SystemdCgroup = true  # kubelet's
[timeouts]
  "io.containerd.timeout.shim.cleanup" = "5s"
""",
    "kubeadm with containerd 2": """\
version = 3
imports = []
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'runc'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = true
""",
    "GKE": """\
version = 2
required_plugins = ["io.containerd.grpc.v1.cri"]
oom_score = -999
[debug]
  level = "info"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  max_container_log_line_size = 262144
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/home/kubernetes/bin"
    conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
[metrics]
  address = "127.0.0.1:1338"
""",
    "EKS with another runtime as the default": """\
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "nvidia"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
SystemdCgroup = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true""",
    "no line ends": 'version = 2\r\n[grpc]\r\n  address = "/run/c.sock"\r\n',
    "Debian": """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
""",
}


def _node(folder: Path, text: str | None = None) -> tuple[TargetNode, Path]:
    path = folder / _NAME.removeprefix("/")
    path.parent.mkdir(parents=True)
    if text is not None:
        path.write_bytes(text.encode())
    return TargetNode(str(folder)), path


def _install(node: TargetNode) -> list[str]:
    plan = ContainerdConfig(node, _NAME, None).install(_WASMTIME)
    for change in plan.changes:
        change.apply()
    return list(plan.notes)


def _uninstall(node: TargetNode) -> list[str]:
    plan = ContainerdConfig(node, _NAME, None).uninstall({"io.containerd.wasmtime.v1"})
    for change in plan.changes:
        change.apply()
    return list(plan.notes)


@pytest.mark.parametrize("sample", list(_SAMPLES))
def test_existing_settings_survive_install_and_uninstall(sample: str, tmp_path: Path) -> None:
    text = _SAMPLES[sample]
    node, path = _node(tmp_path, text)
    before = tomllib.loads(text)

    _install(node)

    assert path.read_bytes().decode().startswith(text)
    after = tomllib.loads(path.read_text())
    cri = _CRI3 if before["version"] == 3 else _CRI2
    added = after["plugins"][cri]["containerd"]["runtimes"]
    assert added["wasmtime"]["runtime_type"] == "io.containerd.wasmtime.v1"
    assert added["wasmtime"]["pod_annotations"] == list(SAFE_ANNOTATIONS)
    systemd = "SystemdCgroup = true" in text
    assert (added["wasmtime"].get("options") == {"SystemdCgroup": True}) is systemd
    assert added["runc"]["runtime_type"] == "io.containerd.runc.v2"
    assert Path(f"{path}{BACKUP}").read_bytes().decode() == text
    written = path.read_bytes()

    _install(node)
    assert path.read_bytes() == written

    _uninstall(node)
    assert path.read_bytes().decode().rstrip("\n") == text.rstrip("\n")


def test_a_missing_file_is_made_with_runc_in_it(tmp_path: Path) -> None:
    node, path = _node(tmp_path)
    _install(node)
    runtimes = tomllib.loads(path.read_text())["plugins"][_CRI2]["containerd"]["runtimes"]
    assert runtimes.keys() == {"runc", "wasmtime"}
    _uninstall(node)
    assert not path.exists()


def test_a_file_of_comments_only_gets_a_version(tmp_path: Path) -> None:
    node, path = _node(tmp_path, "# nothing here yet\n")
    _install(node)
    assert tomllib.loads(path.read_text())["version"] == 2
    _uninstall(node)
    assert path.read_text() == "# nothing here yet\n"


def test_kubelets_driver_counts_where_runc_has_no_entry(tmp_path: Path) -> None:
    node, path = _node(tmp_path, "version = 2\n")
    kubelet = tmp_path / "var/lib/kubelet/config.yaml"
    kubelet.parent.mkdir(parents=True)
    kubelet.write_text("kind: KubeletConfiguration\ncgroupDriver: systemd\n")
    assert _install(node) == []
    runtimes = tomllib.loads(path.read_text())["plugins"][_CRI2]["containerd"]["runtimes"]
    assert runtimes["wasmtime"]["options"]["SystemdCgroup"] is True
    assert runtimes["runc"]["options"]["SystemdCgroup"] is True


def test_a_driver_that_is_not_kubelets_is_said(tmp_path: Path) -> None:
    node, _ = _node(tmp_path, _SAMPLES["kubeadm"])
    kubelet = tmp_path / "var/lib/kubelet/config.yaml"
    kubelet.parent.mkdir(parents=True)
    kubelet.write_text("cgroupDriver: cgroupfs\n")
    assert any("kubelet's cgroupDriver is cgroupfs" in note for note in _install(node))


def test_dockers_own_configuration_without_cri_is_left_alone(tmp_path: Path) -> None:
    node, path = _node(tmp_path, 'disabled_plugins = ["cri"]\n')
    assert any("CRI plugin is disabled" in note for note in _install(node))
    assert path.read_text() == 'disabled_plugins = ["cri"]\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('root = "/x"\n[plugins.cri]\n', "is of version 1"),
        ("version = 2\n[grpc\n", "line 2"),
        ('version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\nruntimes = {}\n', "left as it was"),
        ("version = 2\n# --- runwasi: begin\n", "line 2 begins runwasi's part"),
    ],
)
def test_a_configuration_that_cannot_be_extended_is_refused_by_name(
    text: str, why: str, tmp_path: Path
) -> None:
    node, path = _node(tmp_path, text)
    with pytest.raises(DeploymentError) as refused:
        _install(node)
    assert str(path) in str(refused.value)
    assert why in str(refused.value)
    assert path.read_text() == text
    assert os.listdir(path.parent) == [path.name]


def test_a_table_of_the_operators_is_not_removed(tmp_path: Path) -> None:
    table = f'[plugins."{_CRI2}".containerd.runtimes.wasmtime]\nruntime_type = "io.containerd.wasmtime.v1"\n'
    node, path = _node(tmp_path, f"version = 2\n{table}")
    assert any("remove it by hand" in note for note in _uninstall(node))
    assert table in path.read_text()


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    node, path = _node(tmp_path)
    target = tmp_path / "real.toml"
    target.write_text("version = 2\n")
    target.chmod(0o600)
    path.symlink_to(target)
    _install(node)
    assert path.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert "wasmtime" in target.read_text()


def test_the_page_lists_the_annotations_that_are_written() -> None:
    listed = re.search(r"pod_annotations = \[(.*?)\]", (ROOT / "docs/annotations.md").read_text(), re.DOTALL)
    assert listed
    assert re.findall(r'"(.*?)"', listed[1]) == list(SAFE_ANNOTATIONS)


def test_shims_outside_of_containerds_path_are_named_by_their_own(tmp_path: Path) -> None:
    node, path = _node(tmp_path, _SAMPLES["kubeadm"])
    below = runtimes(["wasmtime"], shared=True, folder="/opt/runwasi/bin")
    for change in ContainerdConfig(node, _NAME, None).install(below).changes:
        change.apply()
    tables = tomllib.loads(path.read_text())["plugins"][_CRI2]["containerd"]["runtimes"]
    named = {name: table.get("runtime_path") for name, table in tables.items()}
    assert named == {
        "runc": None,
        "wasmtime": "/opt/runwasi/bin/containerd-shim-wasmtime-v1",
        "wasmtimed": "/opt/runwasi/bin/containerd-shim-wasmtimed-v1",
    }


def test_a_containerd_that_would_not_find_the_shims_is_left_as_it_was(tmp_path: Path) -> None:
    older = Mock(spec=ContainerdProgram, release=(1, 6), dump_text=lambda text, *_: text)
    node, _ = _node(tmp_path, _SAMPLES["kubeadm"])
    below = runtimes(["wasmtime"], shared=False, folder="/opt/runwasi/bin")
    with pytest.raises(DeploymentError, match=r"containerd 1\.6 finds shims only in its PATH"):
        ContainerdConfig(node, _NAME, older).install(below)
