"""Makes a guest's view of the container's mounts: all of them, but no procfs in it shows a process.

A guest runs in our process, and a process may always open its own memory in /proc. That would defeat the
engine's sandbox. So a guest's files are looked up in a copy of the container's mount namespace. There, a
procfs without processes covers each procfs, with the masks and other mounts that were below it. Only our root
is in that copy: the process stays in the container's namespace, and so do programs that exec starts in it.
"""

from __future__ import annotations

import os
from errno import EAGAIN, EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM
from stat import S_ISCHR, S_ISDIR

from runwasi.executor.errors import ContainerError, describe
from runwasi.linux.beneath import RESOLVE_NO_SYMLINKS, open_beneath
from runwasi.linux.fd import Fd, close_owned
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
from runwasi.linux.mounts import MS_REC, MS_SLAVE, mount, mount_id_of, mount_table
from runwasi.linux.namespaces import CLONE_NEWNS, setns, unshare
from runwasi.linux.processless import processless_procfs, processless_procfs_by_way_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runwasi.executor.child.progress import Progress
    from runwasi.linux.mounts import Mounted

_PATH = os.O_PATH | os.O_CLOEXEC
_ROOT = _PATH | os.O_DIRECTORY
_ATTRIBUTES = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_TRIES = 5
_MOVED = (EAGAIN, ELOOP, ENOENT, ENOTDIR)
_DEV_NULL = os.makedev(1, 3)


def make_procfs(ctx: Progress) -> None:
    """Copy the parent's procfs without processes, or make one while we can see the host's.

    If neither is possible, an empty folder replaces each procfs: the guest sees less, never more.
    """
    kept = ctx.plan.guest_procfs
    userns = dict(ctx.plan.namespaces).get("user")
    ways: list[Callable[[], int]] = [processless_procfs]
    if kept is not None:
        ways.insert(0, lambda: open_tree("", kept))
    if userns is not None:  # an exec'd process of a user is privileged only in the namespace that it enters
        ways.append(lambda: processless_procfs_by_way_of(userns))
    for make in ways:
        try:
            ctx.guest_procfs = Fd(make())
            return
        except OSError:
            continue


def prepare(ctx: Progress) -> None:
    """Make the view, and return to the container's namespace with descriptors of the view's root and namespace.

    Raises ContainerError when a procfs cannot be covered.
    """
    container = _own_mount_namespace(ctx.plan.proc.fileno())
    root = os.open("/", _ROOT)
    unshare(CLONE_NEWNS)
    view_root = os.open("/", _ROOT)
    view = _own_mount_namespace(ctx.plan.proc.fileno())
    # Mounts that the host adds to a volume still arrive here, and none of ours leave. The top may be above our
    # root.
    setns(view, CLONE_NEWNS)
    mount(None, "/", None, MS_SLAVE | MS_REC)
    _stand_in(view_root)
    _cover_all(ctx, view_root)
    setns(container, CLONE_NEWNS)
    _stand_in(root)
    os.close(root)
    os.close(container)
    ctx.guest_view = (view_root, view)


def find_cwd(ctx: Progress) -> None:
    """Find our working directory in the view, while we may look into every folder. Raises ContainerError."""
    cwd = os.getcwd()
    try:
        found = open_beneath(ctx.guest_view[0], cwd, _ROOT, resolve=RESOLVE_NO_SYMLINKS)
    except OSError as error:
        raise ContainerError(
            f"chdir to cwd ({cwd!r}): {error.strerror}; a module sees no process in /proc ($.process.cwd)",
            errno=error.errno or 0,
        ) from None
    ctx.guest_view += (found,)


def enter(ctx: Progress) -> None:
    """Make the view's root ours, and enter the same working directory in it. Needs CAP_SYS_CHROOT."""
    root, _namespace, cwd = ctx.guest_view  # keep the namespace open: without a user it would lose its mounts
    _stand_in(root)
    os.fchdir(cwd)
    os.close(root)
    os.close(cwd)


def _own_mount_namespace(proc_fd: int) -> int:
    return os.open("self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)


def _stand_in(root: int) -> None:
    os.fchdir(root)
    os.chroot(".")


def _cover_all(ctx: Progress, root: int) -> None:
    """Cover every procfs that paths lead to.

    Other processes of the container may rename folders meanwhile: then we read the table again. A covered
    procfs stays covered wherever it is moved.
    """
    for _ in range(_TRIES):
        found: list[_MountToReplace] = []
        covers = _ProcfsCovers(ctx, root)
        try:
            found += (
                _MountToReplace(root, *entry) for entry in _to_replace(mount_table(ctx.plan.proc.fileno()))
            )
            _attach_covers(covers, found)
            return
        except OSError as error:
            if error.errno not in _MOVED:
                why = describe(error)
                raise ContainerError(
                    f"hide processes from the guest: {why}", errno=error.errno or 0
                ) from None
        finally:
            covers.close()
            for entry in found:
                entry.close()
    raise ContainerError("hide processes from the guest: its mounts are being moved", errno=EAGAIN)


def _to_replace(table: list[Mounted]) -> Iterator[tuple[Mounted, bool]]:
    """Yield each procfs that paths lead to and each mount below one, upper before lower.

    Each comes with a flag: whether no procfs is above it, so that it has to be covered itself.
    """
    below: dict[int, list[Mounted]] = {}
    for entry in table:
        below.setdefault(entry.parent, []).append(entry)

    known = {entry.id for entry in table}
    for entry in table:
        if entry.parent not in known:
            yield from _to_replace_in(entry, below, inside=False)


def _to_replace_in(
    entry: Mounted, below: Mapping[int, list[Mounted]], *, inside: bool
) -> Iterator[tuple[Mounted, bool]]:
    """Yield as _to_replace does for a mount and all below it; inside says whether a procfs is above."""
    children = below.get(entry.id, [])
    lids = [child for child in children if child.point == entry.point]
    if lids:  # they hide this mount, and everything below it
        for lid in lids:
            yield from _to_replace_in(lid, below, inside=inside)
        return
    is_procfs = entry.fstype == "proc"
    if is_procfs or inside:
        yield entry, not inside
    points = {child.point for child in children}
    for child in children:
        if not _is_below_one(child.point, points, entry.point):
            yield from _to_replace_in(child, below, inside=inside or is_procfs)


def _is_below_one(point: str, points: set[str], top: str) -> bool:
    """Return whether a path between top and point is among points: the mount there hides point."""
    while len(point := point.rpartition("/")[0]) > len(top.rstrip("/")):
        if point in points:
            return True
    return False


class _MountToReplace:
    """A mount to replace, held open: a procfs, or a mount below one, which has to be mounted again."""

    __slots__ = ("entry", "fd", "tree", "uppermost")

    def __init__(self, root: int, entry: Mounted, uppermost: bool) -> None:
        self.entry = entry
        self.uppermost = uppermost
        self.tree: Fd | None = None
        if entry.point == "/":  # it would be covered behind our back: we stand below the cover
            raise OSError(EINVAL, "the root is a proc filesystem ($.root.path)", "/")
        self.fd = Fd(open_beneath(root, entry.point, _PATH, resolve=RESOLVE_NO_SYMLINKS))
        try:
            if mount_id_of(self.fd.fileno()) != entry.id:
                raise OSError(EAGAIN, "another mount is there by now", entry.point)
            if entry.fstype != "proc":
                self.tree = Fd(open_tree("", self.fd.fileno()))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptors."""
        close_owned((self.fd, self.tree))


def _attach_covers(covers: _ProcfsCovers, found: list[_MountToReplace]) -> None:
    """Cover each uppermost procfs, and mount again, on the cover, what was mounted below the procfs."""
    for each in found:
        if each.uppermost:
            _attach_cover(covers, each, each.fd.fileno())
            continue
        try:
            target = Fd(open_beneath(covers.root, each.entry.point, _PATH, resolve=RESOLVE_NO_SYMLINKS))
        except (FileNotFoundError, NotADirectoryError):  # it was mounted on something of a process
            continue
        with target:
            _attach_cover(covers, each, target.fileno())


def _attach_cover(covers: _ProcfsCovers, found: _MountToReplace, target: int) -> None:
    if found.tree is None:
        found.tree = covers.instead_of(found.entry, target)
    move_mount(found.tree.fileno(), target)


class _ProcfsCovers:
    """Makes the cover of a procfs: the same part of the procfs without processes, or something empty."""

    def __init__(self, ctx: Progress, root: int) -> None:
        self._ctx = ctx
        self.root = root
        self._empty: Fd | None = None

    def close(self) -> None:
        """Close the tree that is kept to be copied."""
        close_owned((self._empty,))

    def instead_of(self, entry: Mounted, target: int) -> Fd:
        """Return a detached mount to cover this mount of a procfs. Raises OSError."""
        directory = S_ISDIR(os.fstat(target).st_mode)
        tree = self._same_part(entry, target if directory else None)
        if tree is None:
            return Fd(self._empty_folder() if directory else self._dev_null())
        if entry.readonly:
            mount_setattr(tree.fileno(), MOUNT_ATTR_RDONLY)
        return tree

    def _same_part(self, entry: Mounted, folder: int | None) -> Fd | None:
        """Copy the same part of the procfs without processes; None if that has no such part, or is missing.

        folder is a place to mount that procfs for a moment, None if there is none.
        """
        procfs = self._ctx.guest_procfs
        if procfs is None or "subset=pid" in entry.options:  # which shows nothing but processes
            return None
        part = entry.root.lstrip("/")
        try:
            return Fd(open_tree(part, procfs.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno != EINVAL:
                raise
        # Before Linux 6.15 only what is mounted can be copied: put it where it will be covered in turn.
        if folder is None:
            return None
        move_mount(procfs.fileno(), folder)
        try:
            return Fd(open_tree(part, procfs.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _empty_folder(self) -> int:
        if self._empty is not None:
            return open_tree("", self._empty.fileno())
        label = self._ctx.plan.spec.linux.mount_label
        options = ("nr_blocks=1", "nr_inodes=1", *((f"context={label}",) if label else ()))
        made = new_mount("tmpfs", "tmpfs", options, _ATTRIBUTES | MOUNT_ATTR_RDONLY)
        self._empty = Fd(os.dup(made))
        return made

    def _dev_null(self) -> int:
        with Fd(open_beneath(self.root, "/dev/null", _PATH | os.O_NOFOLLOW)) as null:
            status = os.fstat(null.fileno())
            if not (S_ISCHR(status.st_mode) and status.st_rdev == _DEV_NULL):
                raise OSError(EPERM, "is not the null device", "/dev/null")
            return open_tree("", null.fileno())
