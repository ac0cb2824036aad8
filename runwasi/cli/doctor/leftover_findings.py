"""Finds what dead containers left: state, cgroups, mounts and sockets, each with the command that removes it."""

from __future__ import annotations

import os

from runwasi.cli.doctor.finding import OK, WARN, Finding
from runwasi.engines import registry
from runwasi.executor.errors import ContainerError, NotFound
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.store import Damaged, container_ids
from runwasi.node.state_roots import shim_roots
from runwasi.shim.client.cleanup import socket_of
from runwasi.shim.pod_socket import DEFAULT_DIRECTORY, answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 10  # of each kind; the rest is counted
_BUNDLES = "/io.containerd.runtime.v2.task/"


def leftovers(root: str) -> Iterator[Finding]:
    """Look below the command line's state root, and below those of the shims."""
    found = [*_containers(root), *_sockets(), *_mounts()]
    yield from found[:_SHOWN]
    if len(found) > _SHOWN:
        yield Finding("leftovers", WARN, f"and {len(found) - _SHOWN} more", "run this again after those")
    if not found:
        yield Finding("leftovers", OK, "none of dead containers")


def _containers(command_line: str) -> Iterator[Finding]:
    for root in _roots(command_line):
        try:
            ids = list(container_ids(root))
        except PermissionError:
            yield Finding("leftovers", WARN, f"{root}: only root may look", "sudo runwasi doctor")
            continue
        for container_id in ids:
            why = _leftover(root, container_id, by_shim=root != command_line)
            if why:
                mend = f"runwasi --root {root} delete --force {container_id}"
                yield Finding("leftovers", WARN, f"container {container_id} {why}", mend)


def _roots(command_line: str) -> Iterator[str]:
    yield command_line
    try:
        yield from (path for _, path in shim_roots(registry.names()))
    except PermissionError:
        return  # only root may look; the report ends with that


def _leftover(root: str, container_id: str, *, by_shim: bool) -> str:
    """Return why a container is a leftover, "" when it is none: a server deletes its stopped ones."""
    try:
        container = Container.load(root, container_id)
        if container.status() != "stopped":
            return ""
    except NotFound:
        return ""
    except Damaged as error:
        return f"is damaged: {error}"
    except (ContainerError, OSError):
        return ""
    if by_shim and _is_served(container.bundle) is not False:
        return ""
    kept = [path for path in container.saved.cgroup_paths.values() if os.path.isdir(path)]
    return "has ended and was not deleted" + (f"; its cgroup is {kept[0]}" if kept else "")


def _sockets() -> Iterator[Finding]:
    try:
        names = sorted(os.listdir(DEFAULT_DIRECTORY))
    except OSError:
        return
    for name in names:
        path = f"{DEFAULT_DIRECTORY}/{name}"
        if os.path.lexists(path) and not answers(path):
            yield Finding(
                "leftovers", WARN, f"nobody listens on {path}, the socket of a dead server", f"rm {path}"
            )


def _mounts() -> Iterator[Finding]:
    """Find root filesystems that are mounted in bundles whose server is dead."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        points = [line.split(" ")[4] for line in file if _BUNDLES in line]
    for point in points:
        bundle, _, name = point.rpartition("/")
        if name == "rootfs" and _is_served(bundle) is False:
            yield Finding("leftovers", WARN, f"{point} is mounted, and its server is dead", f"umount {point}")


def _is_served(bundle: str) -> bool | None:
    """Return whether the server of a bundle's pod answers; None when that cannot be known."""
    try:
        socket = socket_of(bundle)
    except OSError:
        return None
    if not socket:
        return None if os.path.isdir(bundle) else False
    return answers(socket)
