"""Parses a mount's `options`, and sorts them into attributes, propagation and the filesystem's own.

Source: runtime-spec config.md#linux-mount-options; man 8 mount for the older ones.
"""

from __future__ import annotations

from runwasi.linux.mount_fds import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
)
from runwasi.linux.mounts import MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SET: dict[str, tuple[int, int]] = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "relatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "norelatime": (0, 0),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "atime": (0, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "nostrictatime": (0, MOUNT_ATTR__ATIME),
}
"""Option -> (MOUNT_ATTR_* it sets, those it clears); with an r in front it holds for the mounts below too."""

_LOCKABLE = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
"""Attributes that a user namespace cannot clear of a mount that another one made."""

_PROPAGATION = {
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "private": MS_PRIVATE,
    "unbindable": MS_UNBINDABLE,
}

_FILESYSTEM_FLAGS = frozenset(
    (
        *("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"),
        *("iversion", "noiversion", "acl", "noacl"),
    )
)
"""Flags of the filesystem rather than of the mount; they go the way of its own options."""

_IGNORED = frozenset(("defaults", "silent", "loud", "nofail", "_netdev", "auto", "noauto", "user", "nouser"))

_DEFAULTS = frozenset(("async", "nomand", "noiversion"))
"""Filesystem flags that are the default, and have no name in the newer mount calls."""


class MountOptions:
    """The parsed options of one mount.

    attr_set, attr_clr    MOUNT_ATTR_* of this mount
    rec_set, rec_clr      MOUNT_ATTR_* of this mount and those below it
    propagation           (MS_SHARED ..., recursive) in the order given
    bind, recursive       copy the source's mount, with those below it
    idmap, idmap_recursive  map the owners of files, in the mounts below it too
    remount               change the mount that is there
    tmpcopyup             fill a new tmpfs with what it covers
    data                  the filesystem's own options
    """

    __slots__ = (
        "attr_clr",
        "attr_set",
        "bind",
        "data",
        "idmap",
        "idmap_recursive",
        "propagation",
        "rec_clr",
        "rec_set",
        "recursive",
        "remount",
        "tmpcopyup",
    )

    def __init__(self) -> None:
        self.attr_set = self.attr_clr = self.rec_set = self.rec_clr = 0
        self.propagation: list[tuple[int, bool]] = []
        self.bind = self.recursive = self.remount = self.tmpcopyup = False
        self.idmap = self.idmap_recursive = False
        self.data: list[str] = []

    @property
    def readonly(self) -> bool:
        """The mount itself is to be read-only."""
        return bool((self.attr_set | self.rec_set) & MOUNT_ATTR_RDONLY)

    def drop_source_attributes(self, *, userns: bool) -> None:
        """Clear the source's attributes that no option names, unless no option names any.

        As in runc and in mount(8)'s `--bind -o`: a copy of a nosuid mount with `ro` is `ro` alone. The kind
        of access times stays; so do, in a user namespace, the attributes that it may not clear.
        """
        if self.attr_set | self.attr_clr:
            unnamed = MOUNT_ATTR_NOSYMFOLLOW if userns else MOUNT_ATTR_NOSYMFOLLOW | _LOCKABLE
            self.attr_clr |= unnamed & ~(self.attr_set | self.rec_set)


def parse(options: Iterable[str]) -> MountOptions:
    """Sort options; of two contradicting ones the later wins, and unknown ones are the filesystem's."""
    found = MountOptions()
    for option in options:
        if not any(
            parse_one(found, option) for parse_one in (_parse_attribute, _parse_propagation, _parse_word)
        ):
            found.data.append(option)
    return found


def _parse_attribute(found: MountOptions, option: str) -> bool:
    if option in _SET:
        change = _SET[option]
        found.attr_set = found.attr_set & ~change[1] | change[0]
        found.attr_clr = found.attr_clr & ~change[0] | change[1]
        return True
    if option[:1] == "r" and option[1:] in _SET:
        change = _SET[option[1:]]
        found.rec_set = found.rec_set & ~change[1] | change[0]
        found.rec_clr = found.rec_clr & ~change[0] | change[1]
        return True
    return False


def _parse_propagation(found: MountOptions, option: str) -> bool:
    if option in _PROPAGATION:
        found.propagation.append((_PROPAGATION[option], False))
        return True
    if option[:1] == "r" and option[1:] in _PROPAGATION:
        found.propagation.append((_PROPAGATION[option[1:]], True))
        return True
    return False


def _parse_word(found: MountOptions, option: str) -> bool:
    match option:
        case "bind":
            found.bind = True
        case "rbind":
            found.bind = found.recursive = True
        case "remount":
            found.remount = True
        case "tmpcopyup":
            found.tmpcopyup = True
        case "idmap":
            found.idmap = True
        case "ridmap":
            found.idmap = found.idmap_recursive = True
        case _:
            return option in _IGNORED or option in _DEFAULTS
    return True


def known_options() -> list[str]:
    """Return all recognised options, sorted, as `features` reports them."""
    plain = [*_SET, *_PROPAGATION]
    words = ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "defaults", "silent", "loud"]
    return sorted({*plain, *(f"r{name}" for name in plain), *words, *_FILESYSTEM_FLAGS})
