"""Resolves a guest's paths inside the folders that it was given. Source: man 2 openat2.

Each folder has a confinement, and anything opened beneath it inherits that:

* THE_ROOT: the container's own root, given to the guest whole. Absolute links and ".." mean what they mean to a
  native program of the container: they start and end at this folder.
* IN_THE_ROOT: a folder inside that root. The root of this process is the container's, so the kernel resolves
  absolute links and ".." as it does for a native program, and nothing above the root can be named.
* BENEATH: a folder given alone, by an annotation. A path that leads out of it is refused with EPERM.

Magic links of /proc are refused everywhere with ELOOP: they name open files of processes, not paths.
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
    """Return each (folder, guest's name) with the folder's confinement."""
    given = list(preopens)
    whole = any(folder == "/" for folder, _ in given)
    elsewhere = IN_THE_ROOT if whole else BENEATH
    return [(folder, name, THE_ROOT if folder == "/" else elsewhere) for folder, name in given]


def inherited(confinement: int) -> int:
    """Return the confinement that anything opened beneath such a folder gets."""
    return IN_THE_ROOT if confinement == THE_ROOT else confinement


def open_confined(folder: int, path: bytes, flags: int, mode: int, confinement: int) -> int:
    """Open a path relative to a folder; the path must not contain a NUL. The descriptor is close-on-exec.

    Raises OSError: EPERM for a path that leads out, or an absolute path.
    """
    if path[:1] == b"/":
        raise OSError(errno.EPERM, "the path is not relative")
    try:
        return openat2(folder, path, flags, mode, confinement)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EPERM, "the path leads out of its folder") from None
        raise
