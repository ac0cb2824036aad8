"""Resource control groups: assigns shares of cache and memory bandwidth by classes of service.

Source: Documentation/arch/x86/resctrl.rst.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT, ENOTSUP

from runwasi.linux.filesystems import RDTGROUP_SUPER_MAGIC, filesystem_type
from runwasi.linux.kernel_files import write_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = "/sys/fs/resctrl"
"""The conventional mount point of the filesystem."""


def join(group: str, pid: int, schemata: Sequence[str] = (), monitor: str = "", *, root: str = ROOT) -> None:
    """Move process pid to the group, with the shares of schemata, lines such as "L3:0=f".

    An existing group must already have these shares, as others use it. A missing one is made, but only with
    schemata. monitor names a monitoring group to make in it, and to move the process to. "/" is the default
    group. Raises OSError: ENOTSUP if the filesystem is not mounted.
    """
    _require_mounted(root)
    directory = _directory(root, group)
    made = False
    if schemata:
        made = _make(directory)
        if made:
            _write_schemata(directory, schemata)
        else:
            _require_schemata(directory, schemata)
    elif not os.path.isdir(directory):
        raise OSError(ENOENT, "no such class of service, and no schemata to make it with", group)
    try:
        write_once(f"{directory}/tasks", str(pid))
        if monitor:
            _make(f"{directory}/mon_groups/{monitor}")
            write_once(f"{directory}/mon_groups/{monitor}/tasks", str(pid))
    except OSError:
        if made:
            os.rmdir(directory)
        raise


def reshare(group: str, schemata: Sequence[str], *, root: str = ROOT) -> None:
    """Change the shares of an existing group. Raises OSError: ENOTSUP if the filesystem is not mounted."""
    _require_mounted(root)
    write_once(f"{_directory(root, group)}/schemata", "\n".join(schemata) + "\n")


def leave(group: str, monitor: str = "", *, remove: bool = False, root: str = ROOT) -> None:
    """Remove the monitoring group, and with remove the group too; either may be gone already."""
    directory = _directory(root, group)
    if monitor:
        _remove(f"{directory}/mon_groups/{monitor}")
    if remove and directory != root:
        _remove(directory)


def _directory(root: str, group: str) -> str:
    return root if group == "/" else f"{root}/{group}"


def _require_mounted(root: str) -> None:
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OSError(ENOTSUP, "the kernel or the processor has no resource control", root) from None
    try:
        if root == ROOT and filesystem_type(fd) != RDTGROUP_SUPER_MAGIC:
            raise OSError(ENOTSUP, "no resctrl filesystem is mounted", root)
    finally:
        os.close(fd)


def _make(directory: str) -> bool:
    """Make a group; return whether it is new."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return False
    return True


def _remove(directory: str) -> None:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return


def _write_schemata(directory: str, schemata: Sequence[str]) -> None:
    try:
        write_once(f"{directory}/schemata", "\n".join(schemata) + "\n")
    except OSError:
        os.rmdir(directory)
        raise


def _require_schemata(directory: str, schemata: Sequence[str]) -> None:
    with open(f"{directory}/schemata", encoding="ascii") as file:
        present = _parse(file.read().splitlines())
    for resource, shares in _parse(schemata).items():
        for domain, share in shares.items():
            if present.get(resource, {}).get(domain) != share:
                raise OSError(
                    EINVAL, f"the class of service exists with another {resource} schema", directory
                )


def _parse(lines: Sequence[str]) -> dict[str, dict[str, str]]:
    """Parse lines such as "  L3:0=0ff;1=0f" to resource -> domain -> share, in normal form."""
    parsed: dict[str, dict[str, str]] = {}
    for line in lines:
        resource, _, rest = line.strip().partition(":")
        shares = parsed.setdefault(resource, {})
        for part in filter(None, rest.split(";")):
            domain, _, share = part.partition("=")
            shares[domain.strip().lstrip("0") or "0"] = share.strip().lower().lstrip("0") or "0"
    return parsed
