"""Makes namespaces, opens them by path, enters them and returns."""

from __future__ import annotations

import os
from fcntl import ioctl

from runwasi.linux.libc import check, failure, libc
from runwasi.linux.mounts import MS_REC, MS_SLAVE, mount
from runwasi.startup.thin_ctypes import get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

FLAGS = {
    "mnt": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "net": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
"""The clone flags of the kinds of namespaces, by their names under /proc/PID/ns."""

_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
_EINVAL, _ENOSPC = 22, 28


def open_namespace(path: str, kind: str) -> int:
    """Open the namespace at path, a bind mount or /proc/PID/ns/KIND, as a close-on-exec descriptor.

    Raises OSError, EINVAL if path is not a namespace of that kind.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        found = ioctl(fd, _NS_GET_NSTYPE)
    except OSError:  # an ordinary file
        found = 0
    if found != FLAGS[kind]:
        os.close(fd)
        raise OSError(_EINVAL, f"not a {kind} namespace", path)
    return fd


def unshare(flags: int) -> None:
    """Leave the namespaces of flags (CLONE_NEW*) for new ones; for pid and time only children do."""
    if libc.unshare(flags) == -1:
        raise refusal(get_errno(), "unshare", flags)


def refusal(errno: int, call: str, flags: int) -> OSError:
    """Make the OSError for a failed call to make the namespaces of flags, with a reason where errno misleads.

    Source: man 2 unshare and man 7 namespaces, EINVAL and ENOSPC.
    """
    if errno == _EINVAL:
        for kind, flag in FLAGS.items():
            if flags & flag and not os.path.exists(f"/proc/self/ns/{kind}"):
                return OSError(errno, "this kernel does not have it", f"a new {kind} namespace")
    if errno == _ENOSPC:
        return OSError(errno, "the limit is reached (/proc/sys/user/max_*_namespaces)", "new namespaces")
    return failure(errno, call, f"with flags {flags:#x}")


def join(joined: Iterable[tuple[str, int]]) -> None:
    """Enter namespaces given as (kind, descriptor), a user namespace among them in the right order.

    Enter namespaces that others own before it, with our own rights; those that it owns after it, with its rights.
    Raises OSError.
    """
    later: list[tuple[str, int]] = []
    for kind, fd in joined:
        if kind == "user":
            later.insert(0, (kind, fd))
            continue
        try:
            setns(fd, FLAGS[kind])
        except PermissionError:
            later.append((kind, fd))
    for kind, fd in later:
        setns(fd, FLAGS[kind])


def setns(fd: int, flags: int = 0) -> None:
    """Enter the namespace of descriptor fd; flags other than 0 are the kind that it must have.

    fd may also be a pidfd; then all its namespaces of flags are entered at once. Source: man 2 setns.
    """
    check(libc.setns(fd, flags), "setns", f"{flags:#x}")


class entered:  # noqa: N801 - reads as a statement: with entered(fd, "net")
    """Enter the namespace of descriptor fd, and return to the old one at the end of `with`.

    kind is a key of FLAGS. For "pid" and "time" only the namespace of new children changes. A user namespace
    cannot be left again, and only a process with one thread can leave "mnt".
    """

    __slots__ = ("_back", "_fd", "_flag", "_here")

    def __init__(self, fd: int, kind: str) -> None:
        self._fd = fd
        self._flag = FLAGS[kind]
        self._here = f"/proc/self/ns/{kind}"

    def __enter__(self) -> None:
        self._back = os.open(self._here, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self._fd, self._flag)
        except OSError:
            os.close(self._back)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            setns(self._back, self._flag)
        finally:
            os.close(self._back)


class private_mounts:  # noqa: N801 - reads as a statement: with private_mounts()
    """Enter a new mount namespace until the end of `with`: others do not see our mounts there; children stay in it.

    The caller must have one thread. Raises OSError.
    """

    __slots__ = ("_back", "_cwd")

    def __enter__(self) -> None:
        self._back = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        unshare(CLONE_NEWNS)
        mount(None, "/", None, MS_SLAVE | MS_REC)

    def __exit__(self, *exception: object) -> None:
        setns(self._back, CLONE_NEWNS)  # this moves us to its root
        os.fchdir(self._cwd)
        os.close(self._back)
        os.close(self._cwd)
