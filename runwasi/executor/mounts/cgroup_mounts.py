"""Makes a mount of type cgroup: the container's own cgroups, in the layout of either version.

Version 1 is laid out as on every distribution: a tmpfs with a directory for each hierarchy, and a link for
each controller of a hierarchy that has several. Source: runtime-spec config-linux.md#cgroups-mounts.
"""

from __future__ import annotations

import os
from errno import EBUSY, EPERM

from runwasi.executor.mounts.mount_place import attach, open_destination, set_attributes
from runwasi.linux.fd import Fd
from runwasi.linux.mount_fds import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    mount_setattr,
    move_mount,
    new_mount,
    open_tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.executor.child.progress import InitProgress
    from runwasi.executor.mounts.mount_place import Place

UNIFIED = ""
"""Key of the version 2 hierarchy among a container's cgroup paths."""

_HOST_ROOT = "/sys/fs/cgroup"
_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def mount_cgroup(ctx: InitProgress, place: Place) -> None:
    """Mount the unified hierarchy or those of version 1, whichever the host has."""
    place.member = "destination"
    target = open_destination(ctx.root_fd, place, directory=True)
    try:
        place.member = ""
        if ctx.plan.cgroup_paths.keys() <= {UNIFIED}:  # on a hybrid host it has no controllers
            _mount_unified(ctx, place, target)
        else:
            _mount_hierarchies(ctx, place, target)
    finally:
        os.close(target)


def _mount_unified(ctx: InitProgress, place: Place, target: int) -> None:
    """Mount cgroup2, which shows the cgroup namespace; if that is refused, bind the container's directory."""
    try:
        tree = new_mount("cgroup2", "cgroup", place.options.data)
    except OSError as error:
        if error.errno not in (EPERM, EBUSY):
            raise
        tree = open_tree(ctx.plan.cgroup_paths.get(UNIFIED, _HOST_ROOT), recursive=True)
        mount_setattr(tree, place.options.attr_set, recursive=True)  # of version 1 it is one of many mounts
    try:
        attach(place, tree, target)
    finally:
        os.close(tree)


def _mount_hierarchies(ctx: InitProgress, place: Place, target: int) -> None:
    """Mount a tmpfs, and in it the container's own directory of each hierarchy of version 1."""
    tree = new_mount("tmpfs", "tmpfs", ("mode=755",), _SAFE)
    try:
        attach(place, tree, target, keep_writable=True)
        for name, path in _hierarchies(ctx.plan.cgroup_paths).items():
            _mount_hierarchy(place, tree, name, path)
        if place.options.readonly:
            mount_setattr(tree, MOUNT_ATTR_RDONLY)
    finally:
        os.close(tree)


def _mount_hierarchy(place: Place, parent: int, name: str, path: str) -> None:
    os.mkdir(name, 0o755, dir_fd=parent)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with Fd(os.open(name, flags, dir_fd=parent)) as target, Fd(open_tree(path)) as tree:
        mount_setattr(tree.fileno(), _SAFE)
        set_attributes(place.options, tree.fileno())
        move_mount(tree.fileno(), target.fileno())
    controllers = name.split(",")
    for controller in controllers if len(controllers) > 1 else ():
        os.symlink(name, controller, dir_fd=parent)


def _hierarchies(paths: Mapping[str, str]) -> dict[str, str]:
    """Return the container's directory in each hierarchy, by the name of the hierarchy's mount point."""
    found: dict[str, str] = {}
    for controller, path in paths.items():
        if controller == UNIFIED:
            continue
        inside, _, rest = path.partition(f"{_HOST_ROOT}/")
        name = rest.partition("/")[0] if not inside else controller.removeprefix("name=")
        found[name] = path
    return found
