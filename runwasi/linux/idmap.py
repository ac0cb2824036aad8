"""Writes id mappings of user namespaces, and makes user namespaces that map a mount."""

from __future__ import annotations

import os

from runwasi.linux.kernel_files import write_once
from runwasi.linux.namespaces import CLONE_NEWUSER, open_namespace
from runwasi.linux.processes import fork_into, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class IdMap:
    """Maps `size` ids from `inside` to `outside`: in a user namespace and in its parent."""

    __slots__ = ("inside", "outside", "size")

    def __init__(self, inside: int, outside: int, size: int) -> None:
        self.inside = inside
        self.outside = outside
        self.size = size

    def __repr__(self) -> str:
        return f"IdMap({self.inside}, {self.outside}, {self.size})"


def write_maps(
    pid: int, uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap], *, rootless: bool = False
) -> None:
    """Write both mappings of the user namespace that process pid has just entered. Raises OSError."""
    write_uid_map(pid, uid_maps, rootless=rootless)
    write_gid_map(pid, gid_maps, rootless=rootless)


def write_uid_map(pid: int, maps: Sequence[IdMap], *, rootless: bool = False) -> None:
    """Write the mapping of user ids of the user namespace that process pid has just entered.

    A rootless caller may map only its own id; newuidmap writes any other mapping. Raises OSError with
    newuidmap's message.
    """
    if rootless and not _only_own(maps, os.geteuid()):
        _run_helper("newuidmap", pid, maps)
        return
    write_once(f"/proc/{pid}/uid_map", _lines(maps))


def write_gid_map(pid: int, maps: Sequence[IdMap], *, rootless: bool = False) -> None:
    """Write the mapping of group ids, as write_uid_map does.

    For a rootless caller's own id, setgroups is denied first, as man 7 user_namespaces requires.
    """
    if rootless and not _only_own(maps, os.getegid()):
        _run_helper("newgidmap", pid, maps)
        return
    if rootless:
        write_once(f"/proc/{pid}/setgroups", "deny")
    write_once(f"/proc/{pid}/gid_map", _lines(maps))


def _only_own(maps: Sequence[IdMap], own: int) -> bool:
    return len(maps) == 1 and maps[0].size == 1 and maps[0].outside == own


def _lines(maps: Sequence[IdMap]) -> str:
    return "".join(f"{entry.inside} {entry.outside} {entry.size}\n" for entry in maps)


def _run_helper(program: str, pid: int, maps: Sequence[IdMap]) -> None:
    """Run newuidmap or newgidmap, which hold the right that a rootless caller lacks."""
    ids = [str(number) for entry in maps for number in (entry.inside, entry.outside, entry.size)]
    complaints, writer = os.pipe()
    try:
        child = os.posix_spawnp(
            program,
            [program, str(pid), *ids],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, writer, 2)],
        )
    except FileNotFoundError as error:
        os.close(complaints)
        raise OSError(
            error.errno, "not found; it comes with the package uidmap or shadow-utils", program
        ) from None
    finally:
        os.close(writer)
    with open(complaints, "rb") as stream:
        text = stream.read().decode(errors="replace").strip()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise OSError(
            1, text.removeprefix(f"{program}: ") or "failed", program
        )  # EPERM: it fails only if the rights are missing


def user_namespace_for(uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> int:
    """Make a user namespace to map a mount; only its descriptor keeps it alive.

    Needs CAP_SETUID and CAP_SETGID here. Raises OSError.
    """
    wait, go = os.pipe()
    try:
        child = fork_into(CLONE_NEWUSER)
        if child is None:
            os.close(go)
            os.read(wait, 1)  # until the parent is done, or gone
            os._exit(0)
    finally:
        os.close(wait)
    try:
        write_maps(child.pid, uid_maps, gid_maps)
        return open_namespace(f"/proc/{child.pid}/ns/user", "user")
    finally:
        os.close(go)
        reap(child.pidfd)
        os.close(child.pidfd)
