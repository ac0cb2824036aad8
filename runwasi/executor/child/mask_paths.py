"""Masks paths and makes others read-only; the root itself too, once everything is in it.

Source: runtime-spec config-linux.md#masked-paths and #readonly-paths, config.md#root.
"""

from __future__ import annotations

import os
from stat import S_ISCHR, S_ISDIR

from runwasi.executor.errors import ContainerError, describe
from runwasi.linux.beneath import open_in_root
from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.mount_fds import MOUNT_ATTR_RDONLY, mount_setattr, move_mount, new_mount, open_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.executor.child.progress import InitProgress

_PATH = os.O_PATH | os.O_CLOEXEC
_DEV_NULL = os.makedev(1, 3)


def mask_and_protect(ctx: InitProgress) -> None:
    """Mask $.linux.maskedPaths; make $.linux.readonlyPaths, and the root if the spec says so, read-only."""
    linux = ctx.plan.spec.linux
    if linux.masked_paths:
        covers = Covers(ctx)
        try:
            _for_each(ctx, "maskedPaths", linux.masked_paths, covers.cover)
        finally:
            covers.close()
    _for_each(ctx, "readonlyPaths", linux.readonly_paths, _protect)
    for tree in ctx.readonly_later:
        with tree:
            mount_setattr(tree.fileno(), MOUNT_ATTR_RDONLY)
    ctx.readonly_later.clear()
    if ctx.plan.spec.root.readonly:
        mount_setattr(ctx.root_fd, MOUNT_ATTR_RDONLY)


def _for_each(ctx: InitProgress, member: str, paths: tuple[str, ...], act: Callable[[int], None]) -> None:
    """Open each path beneath the root, as the container sees it, and act on it; ignore missing ones."""
    for index, path in enumerate(paths):
        if path in paths[:index]:
            continue
        try:
            fd = open_in_root(ctx.root_fd, path, _PATH)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _refusal(member, index, path, error) from None
        try:
            act(fd)
        except OSError as error:
            raise _refusal(member, index, path, error) from None
        finally:
            os.close(fd)


def _refusal(member: str, index: int, path: str, error: OSError) -> ContainerError:
    return ContainerError(
        f"protect {path}: {describe(error)} ($.linux.{member}[{index}])", errno=error.errno or 0
    )


class Covers:
    """Covers masked paths: /dev/null for files, one empty tmpfs for all directories."""

    def __init__(self, ctx: InitProgress) -> None:
        self._ctx = ctx
        self._null: Fd | None = None
        self._empty: Fd | None = None

    def cover(self, fd: int) -> None:
        """Cover the file or directory that fd stands for. Raises OSError."""
        if not S_ISDIR(os.fstat(fd).st_mode):
            _mount_copy(self._dev_null(), fd)
        elif self._empty is None:
            # The first one uses the mount itself: before Linux 6.15 only attached mounts can be copied.
            self._empty = Fd(self._empty_folder())
            move_mount(self._empty.fileno(), fd)
        else:
            _mount_copy(self._empty, fd)

    def close(self) -> None:
        """Close what was opened."""
        close_owned((self._null, self._empty))

    def _dev_null(self) -> Fd:
        """Open the container's /dev/null; another file in its place would mask nothing (CVE-2025-31133)."""
        if self._null is None:
            null = Fd(open_in_root(self._ctx.root_fd, "/dev/null", _PATH | os.O_NOFOLLOW))
            status = os.fstat(null.fileno())
            if not (S_ISCHR(status.st_mode) and status.st_rdev == _DEV_NULL):
                null.close()
                raise OSError(1, "is not the null device", "/dev/null")
            self._null = null
        return self._null

    def _empty_folder(self) -> int:
        label = self._ctx.plan.spec.linux.mount_label
        options = ("nr_blocks=1", "nr_inodes=1", *((f"context={label}",) if label else ()))
        return new_mount("tmpfs", "tmpfs", options, MOUNT_ATTR_RDONLY)


def _mount_copy(cover: Fd, fd: int) -> None:
    with Fd(open_tree("", cover.fileno())) as copy:
        move_mount(copy.fileno(), fd)


def _protect(fd: int) -> None:
    """Mount a path onto itself, read-only, with the mounts below it."""
    with Fd(open_tree("", fd, recursive=True)) as tree:
        mount_setattr(tree.fileno(), MOUNT_ATTR_RDONLY, recursive=True)
        move_mount(tree.fileno(), fd)
