"""Checks the kernel, its security modules, seccomp and user namespaces."""

from __future__ import annotations

import errno
import os
import shutil

from runwasi.cli.doctor.finding import MISSING, OK, WARN, Finding
from runwasi.executor.criu import criu_service
from runwasi.linux import libc
from runwasi.linux.seccomp_filter import library_version
from runwasi.startup.thin_ctypes import get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OLDEST = (5, 12)
_NEWER = "boot a newer kernel: runwasi needs Linux 5.12"
_LSM = "/sys/kernel/security/lsm"
# Call -> what it is for. Each is made with arguments that a kernel which knows it refuses.
_CALLS = (
    ("clone3", libc.SYS_CLONE3, (None, 0), "starting containers in their cgroup"),
    ("openat2", libc.SYS_OPENAT2, (-1, b"", None, 0), "staying in a container's root"),
    ("pidfd_open", libc.SYS_PIDFD_OPEN, (-1, 0), "waiting for processes"),
    ("close_range", libc.SYS_CLOSE_RANGE, (2, 1, 0), "keeping descriptors from containers"),
    ("open_tree", libc.SYS_OPEN_TREE, (-1, b"x", -1), "the mount API"),
    ("fsopen", libc.SYS_FSOPEN, (None, -1), "the mount API"),
    ("mount_setattr", libc.SYS_MOUNT_SETATTR, (-1, b"x", -1, None, 0), "recursive and id-mapped mounts"),
)


def kernel() -> Iterator[Finding]:
    """Check the release, and each system call that a start makes."""
    release = os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    new = numbers >= _OLDEST
    yield Finding(
        "kernel",
        OK if new else MISSING,
        f"Linux {release} on {os.uname().machine}",
        "" if new else _NEWER,
        needed=True,
    )
    lacking = [
        (name, purpose) for name, number, arguments, purpose in _CALLS if not _knows(number, arguments)
    ]
    if not lacking:
        yield Finding("kernel", OK, f"knows {', '.join(name for name, *_ in _CALLS)}")
    for name, purpose in lacking:
        yield Finding("kernel", MISSING, f"lacks {name}, for {purpose}", _NEWER, needed=True)


def _knows(number: int, arguments: tuple[object, ...]) -> bool:
    return libc.syscall(number, *arguments) != -1 or get_errno() != errno.ENOSYS


def security_modules() -> Iterator[Finding]:
    """List the Linux security modules."""
    modules = _read(_LSM)
    if modules is None:
        yield Finding("lsm", WARN, f"cannot tell the security modules: {_LSM} cannot be read", _mend_lsm())
        return
    labels = [name for name in ("apparmor", "selinux") if name in modules.split(",")]
    note = "" if labels else "; no AppArmor, no SELinux: a container that asks for a label is refused"
    yield Finding("lsm", OK, f"{modules}{note}")


def _mend_lsm() -> str:
    if os.geteuid() != 0:
        return "sudo runwasi doctor"
    return "mount -t securityfs securityfs /sys/kernel/security"


def seccomp() -> Iterator[Finding]:
    """Find libseccomp, which makes filters, and the kernel's part."""
    if "\nSeccomp:" not in (_read("/proc/self/status") or ""):
        yield Finding(
            "seccomp", MISSING, "the kernel is built without it", "boot a kernel with CONFIG_SECCOMP_FILTER"
        )
    version = library_version()
    if version:
        yield Finding("seccomp", OK, f"libseccomp {version}")
    else:
        yield Finding(
            "seccomp",
            MISSING,
            "no libseccomp: containers with a seccomp profile, so most images under containerd, are refused",
            "apt-get install libseccomp2",
            needed=True,
        )


def user_namespaces() -> Iterator[Finding]:
    """Check what rootless containers and pods with hostUsers: false need."""
    limit = int(_read("/proc/sys/user/max_user_namespaces") or 0)
    if not limit:
        yield Finding(
            "userns",
            WARN,
            "there are none: no rootless containers",
            "sysctl -w user.max_user_namespaces=65536",
        )
        return
    yield Finding("userns", OK, f"up to {limit}")
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        yield Finding(
            "userns", WARN, "only root may make any", "sysctl -w kernel.unprivileged_userns_clone=1"
        )
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        mend = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        yield Finding("userns", WARN, "AppArmor restricts those of users", mend)
    lacking = [name for name in ("newuidmap", "newgidmap") if not shutil.which(name)]
    if lacking:
        yield Finding(
            "userns",
            WARN,
            f"no {' and no '.join(lacking)}: rootless containers have one id",
            "apt-get install uidmap",
        )
    else:
        yield Finding("userns", OK, "newuidmap and newgidmap for rootless containers")


def criu() -> Iterator[Finding]:
    """Find criu, for checkpoints."""
    program = criu_service.find()
    if program:
        yield Finding("criu", OK, program)
    else:
        yield Finding(
            "criu", WARN, "not installed: no checkpoints of native containers", "apt-get install criu"
        )


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n")
    except OSError:
        return None
