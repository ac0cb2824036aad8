"""Shifts the owners of rootfs mounts, for pods with a user namespace of their own (containerd 2).

For such pods, the snapshotter adds `uidmap=` and `gidmap=` to a mount's options: container id, host id and
size. A bind mount is mapped itself. Of an overlay, each lower layer is mapped, as the kernel cannot map an
overlay.
Source: containerd core/mount, mount_idmapped_linux.go; man 2 mount_setattr "ID-mapped mounts".
"""

from __future__ import annotations

import os

from runwasi.linux import idmap, mount_fds, mounts
from runwasi.linux.idmap import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_KEYS = ("uidmap=", "gidmap=")


def is_mapping(option: str) -> bool:
    """Return whether an option is one of these."""
    return option.startswith(_KEYS)


def user_namespace(options: list[str]) -> int:
    """Return a user namespace with the mappings in the options. Raises OSError, EINVAL if they are malformed."""
    found: dict[str, list[IdMap]] = {key: [] for key in _KEYS}
    for option in options:
        key = option[: len(_KEYS[0])]
        for mapping in option[len(key) :].split(","):
            numbers = mapping.split(":")
            if len(numbers) != 3 or not all(map(str.isdecimal, numbers)):
                raise OSError(22, "is not container:host:size", f"option {option}")
            inside, outside, size = map(int, numbers)
            found[key].append(IdMap(inside, outside, size))
    return idmap.user_namespace_for(found["uidmap="], found["gidmap="])


def bind(source: str, target: str, userns: int, attributes: int, *, recursive: bool) -> None:
    """Bind source to target with its owners mapped. Raises OSError."""
    tree = mount_fds.open_tree(source, recursive=recursive)
    try:
        mount_fds.map_owners(tree, userns, attributes, recursive=recursive)
        mount_fds.move_mount_to(tree, target)
    finally:
        os.close(tree)


def with_mapped_layers(
    options: list[str], folder: str, userns: int, mount: Callable[[list[str]], None]
) -> None:
    """Call mount with the options of an overlay whose lower layers are mapped copies below folder.

    The overlay holds the copies, so they are detached from folder afterwards. Raises OSError.
    """
    made: list[str] = []
    try:
        changed = []
        for option in options:
            name, _, value = option.partition("=")
            if name == "lowerdir":
                for layer in value.split(":"):
                    copy = f"{folder}/{len(made)}"
                    os.makedirs(copy)
                    made.append(copy)
                    bind(layer, copy, userns, mounts.MS_RDONLY, recursive=False)
                option = f"lowerdir={':'.join(made)}"
            changed.append(option)
        mount(changed)
    finally:
        for copy in made:
            try:
                mounts.umount(copy, mounts.MNT_DETACH)
            except OSError:
                pass  # it was not mounted yet
            os.rmdir(copy)
        if made:
            os.rmdir(folder)
