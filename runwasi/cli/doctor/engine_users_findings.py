"""Checks Docker and Podman, where they are installed."""

from __future__ import annotations

import os
import shutil

from runwasi.cli.doctor.finding import MISSING, OK, WARN, Finding, service
from runwasi.deployment import podman_config
from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.docker_config import DEFAULT_CONFIG, NAME, read_daemon_json
from runwasi.deployment.target_node import TargetNode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCKER_SOCKET = "/run/docker.sock"


def docker() -> Iterator[Finding]:
    """Check daemon.json. Docker calls the shims by their runtimes' names without any entry."""
    program = shutil.which("dockerd")
    if not program and not os.path.exists(DEFAULT_CONFIG):
        return
    if program:
        runs = os.path.exists(_DOCKER_SOCKET)
        says = f"{program} {'runs' if runs else 'does not run'}"
        yield Finding("docker", OK if runs else WARN, says, "" if runs else service("start", "docker"))
    try:
        text = TargetNode().read(DEFAULT_CONFIG) or "{}"
        runtimes = read_daemon_json(text, DEFAULT_CONFIG).get("runtimes", {})
    except PermissionError:
        yield Finding("docker", WARN, f"{DEFAULT_CONFIG}: only root may read it", "sudo runwasi doctor")
        return
    except DeploymentError as error:
        yield Finding("docker", WARN, str(error), f"mend {DEFAULT_CONFIG}")
        return
    entry = runtimes.get(NAME)
    install = "runwasi install docker --write --restart"
    if not isinstance(entry, dict):
        yield Finding("docker", MISSING, f"{DEFAULT_CONFIG} has no runtime {NAME}", install)
        return
    path = str(entry.get("path"))
    there = bool(shutil.which(path))
    if there:
        yield Finding("docker", OK, f"runtime {NAME} is {path}")
    else:
        yield Finding("docker", WARN, f"runtime {NAME} is {path}, which is not there", install)


def podman() -> Iterator[Finding]:
    """Check our file of containers.conf.d."""
    if not shutil.which("podman"):
        return
    if os.path.exists(podman_config.CONFIG):
        yield Finding("podman", OK, f"runtime runwasi, by {podman_config.CONFIG}")
    else:
        yield Finding("podman", MISSING, "has no runtime runwasi", "runwasi install podman --write")
