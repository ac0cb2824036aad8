"""Adds the OCI command line to Podman's runtimes, in a file of our own. Source: man 5 containers.conf."""

from __future__ import annotations

import os

from runwasi.deployment.file_change import FileChange
from runwasi.deployment.target_plan import TargetPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.deployment.target_node import TargetNode

CONFIG = "/etc/containers/containers.conf.d/runwasi.conf"
_TEXT = """\
# Written by `runwasi install`, removed by `runwasi uninstall`. Use it: podman --runtime runwasi run ...
[engine.runtimes]
runwasi = ["{program}"]
"""


def install(node: TargetNode, program: str) -> TargetPlan:
    """Return the plan that makes the program Podman's runtime `runwasi`. Raises DeploymentError, OSError."""
    return _plan(node, _TEXT.format(program=program))


def uninstall(node: TargetNode) -> TargetPlan:
    """Return the plan that removes the runtime. Raises DeploymentError, OSError."""
    return _plan(node, None)


def _plan(node: TargetNode, after: str | None) -> TargetPlan:
    path = node.path(CONFIG)
    found = os.path.dirname(path)
    return TargetPlan("podman", f"files in {found}", [FileChange(path, node.read(CONFIG), after)])
