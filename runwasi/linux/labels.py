"""Sets the labels of security modules: AppArmor profiles and SELinux contexts, for execve and for keys.

Every write goes through a procfs that the caller opened, and which is verified again here: a fake file from an
image would swallow the write and leave the program unconfined (CVE-2019-19921, CVE-2025-52881).
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT, ENOTSUP, EPERM

from runwasi.linux.filesystems import PROC_SUPER_MAGIC, filesystem_type

UNCONFINED = "unconfined"
"""The AppArmor profile that allows everything: the only one that a kernel without AppArmor has."""


def set_apparmor_exec(proc_fd: int, profile: str) -> None:
    """Make this thread's next execve enter an AppArmor profile.

    proc_fd is the root of a procfs. Raises OSError: ENOENT if no such profile is loaded, ENOTSUP if the
    kernel has no AppArmor. Source: apparmor.d(5), aa_change_onexec(2).
    """
    _set_apparmor(proc_fd, profile, "exec", "exec")


def change_apparmor(proc_fd: int, profile: str) -> None:
    """Enter an AppArmor profile now, for a process that will not execute a program.

    Raises OSError as set_apparmor_exec does. Source: aa_change_profile(2).
    """
    _set_apparmor(proc_fd, profile, "current", "changeprofile")


def _set_apparmor(proc_fd: int, profile: str, attribute_name: str, verb: str) -> None:
    for attribute in (f"attr/apparmor/{attribute_name}", f"attr/{attribute_name}"):
        try:
            _write(proc_fd, attribute, f"{verb} {profile}", "AppArmor profile")
        except OSError as error:
            # Before Linux 5.1, the modules share one set of files.
            if error.errno != ENOTSUP:
                raise
        else:
            return
    if profile != UNCONFINED:
        raise OSError(ENOTSUP, "the kernel has no AppArmor", f"AppArmor profile {profile}")


def set_selinux_exec(proc_fd: int, context: str) -> None:
    """Make this thread's next execve enter an SELinux context.

    proc_fd is the root of a procfs. Raises OSError: EINVAL if the policy has no such context, ENOTSUP if
    SELinux is off. Source: man 3 setexeccon.
    """
    _write_selinux(proc_fd, "attr/exec", context)


def change_selinux(proc_fd: int, context: str) -> None:
    """Enter an SELinux context now. Raises OSError as set_selinux_exec does. Source: man 3 setcon."""
    _write_selinux(proc_fd, "attr/current", context)


def set_selinux_keycreate(proc_fd: int, context: str) -> None:
    """Label the keys and keyrings that this thread makes from now on; "" restores the policy's choice.

    Raises OSError as set_selinux_exec does. Source: man 3 setkeycreatecon.
    """
    _write_selinux(proc_fd, "attr/keycreate", context)


def selinux_enabled(proc_fd: int) -> bool:
    """Return whether SELinux is on: only then the kernel has its filesystem."""
    fd = os.open("filesystems", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    try:
        return b"\tselinuxfs\n" in os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def _write_selinux(proc_fd: int, attribute: str, context: str) -> None:
    if not selinux_enabled(proc_fd):
        raise OSError(ENOTSUP, "SELinux is not enabled in the kernel", f"SELinux label {context}")
    _write(proc_fd, attribute, context, "SELinux label")


def _write(proc_fd: int, attribute: str, text: str, what: str) -> None:
    """Write an attribute of this thread. Raises OSError, ENOTSUP if no security module implements it."""
    try:
        fd = os.open(f"thread-self/{attribute}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=proc_fd)
    except OSError as error:
        if error.errno == ENOENT:
            raise OSError(ENOTSUP, "no security module has this attribute", attribute) from None
        raise
    try:
        if filesystem_type(fd) != PROC_SUPER_MAGIC:
            raise OSError(EPERM, "is not on a proc filesystem", attribute)
        os.write(fd, text.encode())
    except OSError as error:
        if error.errno == EINVAL and not _is_answered(fd):
            raise OSError(ENOTSUP, "no security module implements this attribute", attribute) from None
        raise OSError(error.errno, error.strerror, f"{what} {text.rpartition(' ')[2]}") from None
    finally:
        os.close(fd)


def _is_answered(fd: int) -> bool:
    """Return whether a security module implements the attribute: otherwise reading it fails with EINVAL."""
    try:
        os.pread(fd, 4096, 0)
    except OSError as error:
        return error.errno != EINVAL
    return True
