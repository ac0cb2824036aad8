"""Lists the targets of `runwasi install`, with a check whether the node has each, and its plan."""

from __future__ import annotations

import os

from runwasi.deployment import daemon_units, kubernetes, podman_config, programs
from runwasi.deployment.containerd_config import ContainerdConfig
from runwasi.deployment.containerd_program import DEFAULT_CONFIG, ContainerdProgram
from runwasi.deployment.docker_config import DEFAULT_CONFIG as DAEMON_JSON
from runwasi.deployment.docker_config import DockerConfig
from runwasi.deployment.runtimes import default_engines, runtimes
from runwasi.deployment.target_plan import TargetPlan
from runwasi.engines import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.deployment.runtimes import Runtime
    from runwasi.deployment.target_node import TargetNode

TARGETS = {
    "programs": "the shims and node daemons that containerd starts, in its PATH",
    "units": "systemd's units of the node daemons",
    "containerd": "the runtimes that pods can ask for, in config.toml or a file that it imports",
    "docker": "the runtime `runwasi` in daemon.json",
    "podman": "the runtime `runwasi` in a file of containers.conf.d",
    "kubernetes": "RuntimeClasses: printed, or applied by kubectl with --write",
    "k3s": "the runtimes, in k3s's templates of containerd's configuration",
    "kind": "a cluster configuration for kind, printed",
}
"""Target -> what is written, in a few words."""


class Wanted:
    """The command line's choices for every target: engines, shared mode, and where files are."""

    def __init__(
        self,
        node: TargetNode,
        *,
        engines: Sequence[str] = (),
        shared: bool,
        config: str = "",
        folder: str = "",
    ) -> None:
        """Raises UnknownEngine."""
        self.node = node
        self.engines = tuple(engines) or default_engines()
        for engine in self.engines:
            registry.load(engine)
        self.shared = shared
        self.config = config
        self.folder = folder or programs.default_folder(node)

    def runtimes(self, prefix: str = "") -> list[Runtime]:
        """Return the runtimes to offer; their shims have a path where containerd would not find them."""
        folder = "" if programs.is_in_path(self.folder) else self.folder
        return runtimes(self.engines, shared=self.shared, prefix=prefix, folder=folder)


def is_found(target: str, node: TargetNode) -> bool:
    """Return whether the node has the program that a target configures, or what we wrote for it.

    False for targets that only print.
    """
    return {
        "programs": True,
        "units": node.has_systemd()
        or (not node.is_this_machine and node.has("/usr/lib/systemd/systemd"))
        or daemon_units.are_written(node, registry.names()),
        "containerd": bool(node.program("containerd")) or node.has(DEFAULT_CONFIG),
        "docker": bool(node.program("dockerd")) or node.has(DAEMON_JSON),
        "podman": bool(node.program("podman"))
        or node.has("/usr/bin/podman")
        or node.has(podman_config.CONFIG),
        "k3s": node.has(kubernetes.K3S),
    }.get(target, False)


def install_plan(target: str, wanted: Wanted) -> TargetPlan:
    """Return what `install` does for a target. Raises DeploymentError, OSError."""
    node = wanted.node
    match target:
        case "programs":
            return programs.install(node, wanted.engines, wanted.folder)
        case "units":
            return daemon_units.install(node, wanted.engines, wanted.folder)
        case "containerd":
            return _containerd(wanted).install(wanted.runtimes())
        case "docker":
            return DockerConfig(node, wanted.config or DAEMON_JSON).install(_command_line(wanted))
        case "podman":
            return podman_config.install(node, _command_line(wanted))
        case "k3s":
            return kubernetes.install_k3s(node, wanted.runtimes(kubernetes.K3S_PREFIX))
        case "kind":
            shown = kubernetes.kind_cluster(runtimes(wanted.engines, shared=wanted.shared))
            hint = "a node of kind needs the programs in its /usr/local/bin: mount them, or build an image with them"
            return TargetPlan("kind", "kind create cluster --config FILE", shown=shown, notes=[hint])
    return _runtime_classes(wanted, "apply")


def uninstall_plan(target: str, wanted: Wanted) -> TargetPlan:
    """Return what `uninstall` does for a target. Raises DeploymentError, OSError."""
    node = wanted.node
    engines = registry.names()
    match target:
        case "programs":
            return programs.uninstall(node, engines, wanted.folder)
        case "units":
            return daemon_units.uninstall(node, engines)
        case "containerd":
            types = {runtime.type for runtime in runtimes(engines, shared=True)}
            return _containerd(wanted).uninstall(types)
        case "docker":
            return DockerConfig(node, wanted.config or DAEMON_JSON).uninstall()
        case "podman":
            return podman_config.uninstall(node)
        case "k3s":
            return kubernetes.uninstall_k3s(node)
        case "kind":
            return TargetPlan("kind", "delete the cluster: kind delete cluster")
    return _runtime_classes(wanted, "delete")


def _containerd(wanted: Wanted) -> ContainerdConfig:
    node = wanted.node
    path = node.program("containerd")
    return ContainerdConfig(node, wanted.config or DEFAULT_CONFIG, ContainerdProgram(path) if path else None)


def _command_line(wanted: Wanted) -> str:
    """Return the path of the program `runwasi`, as others shall call it."""
    usual = f"{wanted.folder}/runwasi"
    return usual if wanted.node.has(usual) else wanted.node.program("runwasi") or usual


def _runtime_classes(wanted: Wanted, verb: str) -> TargetPlan:
    node = wanted.node
    prefix = kubernetes.K3S_PREFIX if is_found("k3s", node) else ""
    command = [node.program("kubectl") or "kubectl", verb, "--filename", "-"]
    if verb == "delete":
        command.append("--ignore-not-found")
    return TargetPlan(
        "kubernetes",
        f"for {os.path.basename(command[0])} {verb}; pods go to nodes with the label "
        "(kubectl label node NODE runwasi.io/engine=ENGINE)",
        shown=kubernetes.runtime_classes(wanted.runtimes(prefix)),
        after=[command],
    )
