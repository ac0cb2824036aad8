"""The words of a mount's options."""

from __future__ import annotations

from runwasi.executor.mounts.mount_options import known_options, parse
from runwasi.linux.mount_fds import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from runwasi.linux.mounts import MS_PRIVATE, MS_SLAVE

LISTED = """
async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev
nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private
ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec
rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync
tmpcopyup unbindable
"""
"""The options of runtime-spec config.md#linux-mount-options."""


def test_options_set_and_clear_attributes() -> None:
    found = parse(["nosuid", "nodev", "rw", "noatime"])
    assert found.attr_set == MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME
    assert found.attr_clr == MOUNT_ATTR_RDONLY | MOUNT_ATTR__ATIME


def test_the_later_of_two_wins() -> None:
    assert parse(["ro", "rw"]).attr_set == 0
    assert not parse(["ro", "rw"]).readonly
    assert parse(["rw", "ro"]).readonly
    assert parse(["strictatime", "noatime"]).attr_set == MOUNT_ATTR_NOATIME


def test_an_r_in_front_is_for_the_mounts_below_too() -> None:
    found = parse(["rro", "rnosuid", "rprivate", "slave"])
    assert found.rec_set == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID
    assert found.attr_set == 0
    assert found.propagation == [(MS_PRIVATE, True), (MS_SLAVE, False)]


def test_unknown_options_go_to_the_filesystem() -> None:
    found = parse(["rbind", "size=64k", "defaults", "newinstance", "tmpcopyup", "ridmap", "sync"])
    assert found.data == ["size=64k", "newinstance", "sync"]
    assert found.bind
    assert found.recursive
    assert found.tmpcopyup
    assert found.idmap_recursive


def test_every_option_of_the_specification_is_known() -> None:
    known = known_options()
    assert [option for option in LISTED.split() if option not in known] == []
    for option in known:
        data = parse([option]).data
        assert data in ([], [option])
