"""Joins a new session keyring, so that a process cannot read its caller's keys."""

from __future__ import annotations

import os

from runwasi.linux.libc import SYS_KEYCTL, check, syscall
from runwasi.startup.thin_ctypes import create_string_buffer

# linux/keyctl.h
_JOIN_SESSION_KEYRING = 1
_SETPERM = 5
_DESCRIBE = 6
_USER_SEARCH = 0x00080000
_OTHERS_SEARCH = 0x00000008


def join_session_keyring(name: str, *, others_search: bool = False) -> int:
    """Join the session keyring of this name, a new one unless we own one; return its serial number.

    Its owner may search it, so that a later process can join; with others_search (for a user namespace, where
    the owner is another uid) everybody who has it may. Raises OSError: ENOSYS on a kernel without keyrings,
    EDQUOT if the user's quota is exhausted. Source: man 3 keyctl_join_session_keyring.
    """
    serial = check(
        syscall(SYS_KEYCTL, _JOIN_SESSION_KEYRING, os.fsencode(name)), "keyctl JOIN_SESSION_KEYRING", name
    )
    permissions = _permissions(serial) | (_OTHERS_SEARCH if others_search else _USER_SEARCH)
    check(syscall(SYS_KEYCTL, _SETPERM, serial, permissions), "keyctl SETPERM", name)
    return serial


def _permissions(serial: int) -> int:
    """Return a key's permission mask, the fourth part of "type;uid;gid;perm;description"."""
    description = create_string_buffer(256)
    check(syscall(SYS_KEYCTL, _DESCRIBE, serial, description, len(description)), "keyctl DESCRIBE", serial)
    return int(description.value.split(b";", 4)[3], 16)
