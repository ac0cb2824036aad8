"""Resolves the paths of a guest inside the folders that it was given. Source: man 2 openat2.

A folder has a confinement, which what is opened beneath it inherits:

* THE_ROOT: the container's own root, given to the guest whole. Absolute links and ".." mean what they mean to a
  native program of the container: they start and end at this folder.
* IN_THE_ROOT: a folder inside that root. The root of this process is the container's, so the kernel resolves
  absolute links and ".." as it does for a native program, and nothing above the root can be named.
* BENEATH: a folder given alone, by an annotation. Whatever leads out of it is refused with EPERM.

Magic links of /proc are refused everywhere (ELOOP): they name open files of processes, not paths.
"""

from __future__ import annotations

import errno

from runwasi.linux.beneath import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

THE_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
IN_THE_ROOT = RESOLVE_NO_MAGICLINKS
BENEATH = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS


def confinements(preopens: Iterable[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Add its confinement to each (folder, guest's name)."""
    given = list(preopens)
    whole = any(folder == "/" for folder, _ in given)
    elsewhere = IN_THE_ROOT if whole else BENEATH
    return [(folder, name, THE_ROOT if folder == "/" else elsewhere) for folder, name in given]


def inherited(confinement: int) -> int:
    """Return the confinement of what is opened beneath a folder of this one."""
    return IN_THE_ROOT if confinement == THE_ROOT else confinement


def open_confined(folder: int, path: bytes, flags: int, mode: int, confinement: int) -> int:
    """Open a path relative to a folder; it must have no NUL in it. The descriptor is close-on-exec.

    Raises OSError: EPERM for what leads out and for an absolute path.
    """
    if path[:1] == b"/":
        raise OSError(errno.EPERM, "it is no relative path")
    try:
        return openat2(folder, path, flags, mode, confinement)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EPERM, "it leads out of its folder") from None
        raise
