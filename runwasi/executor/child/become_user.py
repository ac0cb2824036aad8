"""Sets the process's user, groups, capabilities, umask and working directory."""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ELOOP, ENOTDIR, EPERM

from runwasi.engines.annotation_names import KEEP_GROUPS
from runwasi.executor.errors import ContainerError, describe
from runwasi.linux import capabilities, processes
from runwasi.linux.beneath import make_dirs, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runwasi.executor.child.progress import InitProgress, Progress
    from runwasi.oci.process import Capabilities

_DEFAULT_UMASK = 0o022


def make_cwd(ctx: InitProgress) -> None:
    """Make process.cwd where the image lacks it, as runc does.

    Nothing is made through a magic link of /proc, which may lead to the root of a process of the host:
    stand_in_cwd says what is wrong with such a path.
    """
    try:
        os.close(make_dirs(ctx.root_fd, ctx.process.cwd))
    except NotADirectoryError:
        raise ContainerError(
            f"chdir to cwd ({ctx.process.cwd!r}) set in config.json failed: not a directory ($.process.cwd)",
            errno=ENOTDIR,
        ) from None
    except OSError as error:
        if error.errno != ELOOP:
            raise


def own_stdio(ctx: Progress) -> None:
    """Give 0, 1 and 2 to the user, so that it can open /dev/stdout again; /dev/null stays everybody's."""
    uid = ctx.process.user.uid
    for fd in (0, 1, 2):
        found = os.fstat(fd)
        if found.st_uid == uid or _is_dev_null(found):
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError:
            # The id has no mapping, the file system is read-only, or it is a socket: the descriptor still works.
            continue


def _is_dev_null(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)


def become_user(ctx: Progress) -> None:
    """Take the user's ids, keeping the permitted capabilities for the steps that follow."""
    user = ctx.process.user
    capabilities.apply_bounding(_mask(ctx.process.capabilities.bounding if ctx.process.capabilities else ()))
    processes.set_keepcaps(True)
    if user.additional_gids or (not _keeps_groups(ctx) and _may_set_groups(ctx)):
        _take("additionalGids", os.setgroups, user.additional_gids)
    _take("gid", os.setresgid, user.gid, user.gid, user.gid)
    _take("uid", os.setresuid, user.uid, user.uid, user.uid)
    processes.set_keepcaps(False)
    if user.uid and ctx.process.capabilities:  # these decide which files the program may open and execute
        capabilities.hold_effective(_mask(ctx.process.capabilities.effective))
    os.umask(_DEFAULT_UMASK if user.umask is None else user.umask)


def _take(member: str, call: Callable[..., None], *ids: object) -> None:
    """Take ids as process.user says. Raises ContainerError naming the member."""
    try:
        call(*ids)
    except OSError as error:
        why = error.strerror
        if error.errno == EINVAL:
            why = "not mapped in the user namespace"
        elif error.errno == EPERM and member == "additionalGids":
            why = "the user namespace denies setgroups, as one of a single id does"
        raise ContainerError(f"{ids[0]}: {why} ($.process.user.{member})", errno=error.errno or 0) from None


def _keeps_groups(ctx: Progress) -> bool:
    """Return whether to keep the caller's groups, which open files to it: Podman's `--group-add keep-groups`."""
    return ctx.plan.spec.annotations.get(KEEP_GROUPS) == "1"


def _may_set_groups(ctx: Progress) -> bool:
    """Return whether setgroups is allowed: an unprivileged user namespace denies it (man 7 user_namespaces)."""
    if not ctx.plan.userns:
        return True
    try:
        fd = os.open("self/setgroups", os.O_RDONLY | os.O_CLOEXEC, dir_fd=ctx.plan.proc.fileno())
    except OSError:
        return True
    try:
        return os.read(fd, 16).strip() == b"allow"
    finally:
        os.close(fd)


def stand_in_cwd(ctx: Progress) -> None:
    """Change to process.cwd as the user, and make sure that it is inside the root.

    A cwd of /proc/self/fd/N could be a directory of the host that somebody left open (CVE-2024-21626).
    """
    cwd = ctx.process.cwd
    try:
        _change_to(ctx, cwd)
        inside = os.getcwd().startswith("/")
    except OSError as error:
        if error.filename == cwd:
            raise ContainerError(
                f"chdir to cwd ({cwd!r}) set in config.json failed: {describe(error)} ($.process.cwd)"
            ) from None
        inside = False  # getcwd finds no way from the root to here
    if not inside:
        raise ContainerError(f"cwd {cwd!r} is outside the container's root ($.process.cwd)")


def _change_to(ctx: Progress, cwd: str) -> None:
    """Change to a directory as the user or, as runc does, as root: an image may put a user into /root."""
    try:
        os.chdir(cwd)
    except PermissionError:
        wanted = ctx.process.capabilities
        capabilities.raise_permitted()
        try:
            os.chdir(cwd)
        finally:
            capabilities.hold_effective(_mask(wanted.effective if wanted else ()))


def lower_effective(ctx: Progress) -> None:
    """Make only the spec's effective capabilities effective, for root too, while its program is looked for.

    With more, a path through /proc/PID/root would open files of the host's processes that the program may not open.
    """
    if not ctx.process.user.uid:  # others have no more already
        wanted = ctx.process.capabilities
        capabilities.hold_effective(_mask(wanted.effective if wanted else ()))


def limit_capabilities(ctx: Progress) -> None:
    """Set all five capability sets to exactly the listed ones; an absent list is empty.

    A module that enters its view after its hooks keeps the capability for that until limit_capabilities_again.
    """
    sets = _sets_of(ctx.process.capabilities)
    if ctx.enters_view_late:
        sets.effective |= _mask(("CAP_SYS_CHROOT",))
        sets.permitted |= _mask(("CAP_SYS_CHROOT",))
    capabilities.apply(sets)


def limit_capabilities_again(ctx: Progress) -> None:
    """Drop the capabilities that limit_capabilities kept."""
    if ctx.enters_view_late:
        capabilities.apply(_sets_of(ctx.process.capabilities))


def _sets_of(wanted: Capabilities | None) -> capabilities.CapSets:
    if wanted is None:
        return capabilities.CapSets(0, 0, 0, 0, 0)
    inheritable, permitted = _mask(wanted.inheritable), _mask(wanted.permitted)
    return capabilities.CapSets(
        _mask(wanted.effective),
        permitted,
        inheritable,
        _mask(wanted.bounding),
        # An ambient capability must be permitted and inheritable; asking for more is runc's warning.
        _mask(wanted.ambient) & permitted & inheritable,
    )


def _mask(names: Iterable[str]) -> int:
    mask = 0
    for name in names:
        number = capabilities.CAPABILITIES.get(name)
        if number is not None:  # an unknown one cannot be granted: config.md#process wants no error
            mask |= 1 << number
    return mask


def raise_effective(_ctx: Progress) -> None:
    """Make the kept capabilities effective again, now that the program is found: loading a filter needs one."""
    capabilities.raise_permitted()


def complete_env(ctx: Progress) -> None:
    """Set HOME, as a login would, unless the spec sets it.

    The file is the container's, so this comes as its user, and before its filter, which may forbid the calls.
    """
    homes = [entry for entry in ctx.env if entry.startswith("HOME=")]
    if not homes or homes[-1] == "HOME=":  # the last of several counts
        kept = tuple(entry for entry in ctx.env if not entry.startswith("HOME="))
        ctx.env = (*kept, "HOME=" + home_of(ctx.process.user.uid))


_MAX_PASSWD = 8 << 20
"""Bytes of /etc/passwd that are searched, some hundred thousand users: the file could grow while it is read."""


def home_of(uid: int, root: str = "/") -> str:
    """Return a user's home folder from the /etc/passwd that the process sees; "/" if it is not there.

    The container controls that file. Opening a FIFO could block, and reading a device never end, so only a
    regular file is read.
    """
    try:
        with open(_open_regular(root, "etc/passwd"), "rb") as file:
            left = _MAX_PASSWD
            while left > 0 and (line := file.readline(left)):
                left -= len(line)
                fields = line.rstrip(b"\n").split(b":")
                if len(fields) >= 6 and fields[2] == str(uid).encode():
                    home = os.fsdecode(fields[5])
                    return home if home and "\0" not in home else "/"  # no variable can hold a NUL
    except OSError:
        pass
    return "/"


def _open_regular(root: str, path: str) -> int:
    """Open a regular file below root to read, following no link of /proc. Raises OSError for anything else."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    finally:
        os.close(root_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(EINVAL, "not a regular file", path)
    return fd
