"""Writes RuntimeClasses for our runtimes, k3s's template of containerd's configuration, and kind's patches of it."""

from __future__ import annotations

import textwrap

from runwasi.deployment.containerd_config import runtime_table
from runwasi.deployment.containerd_document import PLUGINS
from runwasi.deployment.containerd_program import is_older_than, pid_behind
from runwasi.deployment.file_change import FileChange
from runwasi.deployment.marked_block import has_block, with_block, without_block
from runwasi.deployment.target_plan import TargetPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.deployment.runtimes import Runtime
    from runwasi.deployment.target_node import TargetNode

K3S = "/var/lib/rancher/k3s/agent/etc/containerd"
K3S_PREFIX = "runwasi-"
"""k3s itself names a handler after each shim in PATH, without pod_annotations. Ours must have another name."""

_TEMPLATES = {2: "config.toml.tmpl", 3: "config-v3.toml.tmpl"}
_BASE = '{{ template "base" . }}\n'
_AGENT = "/etc/systemd/system/k3s-agent.service"
_ADDRESS = "/run/k3s/containerd/containerd.sock"
_OVERHEAD = {False: "8Mi", True: "1Mi"}
"""Memory of a pod's server. tests/kubernetes/pod_overhead.py measured 5.7 MiB without a node daemon, 4.7 MiB with
one, and 0.1 MiB in shared mode; the kernel's part and room to grow come on top. All pods of a class have the same."""

_CLASS = """\
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: {handler}
handler: {handler}
overhead:
  podFixed:
    memory: {memory}
scheduling:
  nodeSelector:
    runwasi.io/engine: {engine}
"""


def runtime_classes(runtimes: Sequence[Runtime]) -> str:
    """Return a RuntimeClass for each runtime, as YAML."""
    return "---\n".join(
        _CLASS.format(handler=runtime.handler, engine=runtime.engine, memory=_OVERHEAD[runtime.shared])
        for runtime in runtimes
    )


def kind_cluster(runtimes: Sequence[Runtime]) -> str:
    """Return a kind configuration; releases of kind differ in the version of containerd's configuration.

    containerd ignores the table of another version. kind's kubelet uses systemd's cgroup driver.
    """
    options = {"SystemdCgroup": "true"}
    tables = "".join(
        runtime_table(plugin, runtime, options) for plugin in PLUGINS.values() for runtime in runtimes
    )
    head = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\ncontainerdConfigPatches:\n- |-\n"
    return head + textwrap.indent(tables, "  ")


def install_k3s(node: TargetNode, runtimes: Sequence[Runtime]) -> TargetPlan:
    """Return the plan that adds the runtimes to k3s's templates for containerd. Raises DeploymentError, OSError."""
    return _k3s(node, runtimes)


def uninstall_k3s(node: TargetNode) -> TargetPlan:
    """Return the plan that removes the runtimes. Raises DeploymentError, OSError."""
    return _k3s(node, ())


def _template_change(
    node: TargetNode, version: int, template: str, runtimes: Sequence[Runtime]
) -> FileChange:
    """Return the change that puts the runtimes into a template; without any, the one that removes them."""
    name = f"{K3S}/{template}"
    text, path = node.read(name), node.path(name)
    base = _BASE if text is None else without_block(text, path)
    options = {"SystemdCgroup": "{{ .SystemdCgroup }}"}
    tables = "".join(runtime_table(PLUGINS[version], runtime, options) for runtime in runtimes)
    if tables:
        after: str | None = with_block(base, tables)
    else:
        after = None if base == _BASE else base
    return FileChange(path, text, after, keep=not has_block(text or ""))


def _k3s(node: TargetNode, runtimes: Sequence[Runtime]) -> TargetPlan:
    changes = [_template_change(node, *template, runtimes) for template in _TEMPLATES.items()]
    service = "k3s-agent" if node.has(_AGENT) else "k3s"
    note = f"handlers begin with {K3S_PREFIX}, because k3s itself names one after each shim that it finds in PATH"
    return TargetPlan(
        "k3s",
        f"templates in {node.path(K3S)}",
        changes,
        after=[("systemctl", "restart", service)] if node.has_systemd() else [],
        due=node.is_this_machine and is_older_than(pid_behind(_ADDRESS), [change.path for change in changes]),
        hint="restart k3s; containers keep running",
        notes=[note] if runtimes else [],
    )
