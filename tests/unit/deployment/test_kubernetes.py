"""RuntimeClasses, k3s's templates and kind's patches."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from devtools.places import ROOT
from runwasi import __version__
from runwasi.deployment import kubernetes
from runwasi.deployment.runtimes import runtimes
from runwasi.deployment.target_node import TargetNode

_FOLDER = kubernetes.K3S.removeprefix("/")


def test_the_manifest_of_the_repository_is_what_install_prints() -> None:
    page = (ROOT / "packaging/kubernetes/runtimeclass.yaml").read_text()
    manifest = "".join(line for line in page.splitlines(keepends=True) if not line.startswith("#"))
    assert manifest == kubernetes.runtime_classes(runtimes(["wasmtime"], shared=True))


def test_the_manifest_for_k3s_makes_its_handlers_and_classes_of_the_others() -> None:
    text = (ROOT / "packaging/kubernetes-k3s/kustomization.yaml").read_text()
    plain = runtimes(["wasmtime"], shared=True)
    for own, k3s in zip(
        plain, runtimes(["wasmtime"], shared=True, prefix=kubernetes.K3S_PREFIX), strict=True
    ):
        patch = text.partition(f"- target: {{kind: RuntimeClass, name: {own.handler}}}\n")[2].partition(
            "\n- "
        )[0]
        for path in ("/metadata/name", "/handler"):
            assert f"- {{op: replace, path: {path}, value: {k3s.handler}}}" in patch
    assert text.count("{name: TARGET, value: k3s}") == 2  # to install, and to take it back


def test_the_images_tag_is_this_version() -> None:
    text = (ROOT / "packaging/kubernetes/kustomization.yaml").read_text()
    assert f"newTag: {__version__}\n" in text
    for page in ("packaging/kubernetes/README.md", "docs/kubernetes.md"):
        names = re.findall(r"runwasi-node-installer[-:](\d[\w.]*?)(?=-amd64|\s|$)", (ROOT / page).read_text())
        assert set(names) == {__version__}, page


def test_a_class_for_each_runtime_has_its_overhead() -> None:
    text = kubernetes.runtime_classes(runtimes(["wasmtime"], shared=True))
    first, second = text.split("---\n")
    assert "handler: wasmtime\noverhead:\n  podFixed:\n    memory: 8Mi\n" in first
    assert "handler: wasmtimed\noverhead:\n  podFixed:\n    memory: 1Mi\n" in second


def test_k3s_gets_templates_that_begin_with_its_own(tmp_path: Path) -> None:
    folder = tmp_path / _FOLDER
    folder.mkdir(parents=True)
    (folder / "config.toml.tmpl").write_text('{{ template "base" . }}\n# of the operator\n')
    node = TargetNode(str(tmp_path))
    for change in kubernetes.install_k3s(
        node, runtimes(["wasmtime"], shared=False, prefix="runwasi-")
    ).changes:
        change.apply()
    for name, plugin in (
        ("config.toml.tmpl", "io.containerd.grpc.v1.cri"),
        ("config-v3.toml.tmpl", "io.containerd.cri.v1.runtime"),
    ):
        text = (folder / name).read_text()
        assert text.startswith('{{ template "base" . }}\n')
        ours = tomllib.loads(
            text.partition("# --- runwasi")[2].partition("\n")[2].replace("{{ .SystemdCgroup }}", "true")
        )
        table = ours["plugins"][plugin]["containerd"]["runtimes"]["runwasi-wasmtime"]
        assert table["options"]["SystemdCgroup"] is True
    for change in kubernetes.uninstall_k3s(node).changes:
        change.apply()
    assert (folder / "config.toml.tmpl").read_text() == '{{ template "base" . }}\n# of the operator\n'
    assert not (folder / "config-v3.toml.tmpl").exists()


def test_kind_gets_a_table_for_either_version_of_the_configuration() -> None:
    text = kubernetes.kind_cluster(runtimes(["wasmtime"], shared=False))
    patch = tomllib.loads("\n".join(line[2:] for line in text.partition("- |-\n")[2].splitlines()))
    assert patch["plugins"].keys() == {"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"}
