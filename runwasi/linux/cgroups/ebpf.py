"""Loads a device filter into the kernel, and attaches it to a v2 cgroup.

Source: man 2 bpf; linux/uapi/linux/bpf.h (union bpf_attr, of which only the leading fields are passed).
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT
from struct import calcsize, pack, unpack_from

from runwasi.linux.libc import SYS_BPF, check, syscall
from runwasi.startup.thin_ctypes import addressof, create_string_buffer

BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH = 5, 8, 9
BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY = 13, 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI, BPF_F_REPLACE = 2, 4

_MOST_ATTACHED = 64  # BPF_CGROUP_MAX_PROGS
_INSTRUCTION_SIZE = 8


def attach_device_filter(cgroup_fd: int, program: bytes) -> None:
    """Attach a program to the cgroup in place of earlier ones; at every moment one is attached."""
    new = _load(program)
    old = _attached(cgroup_fd)
    try:
        if len(old) != 1 or not _replace(cgroup_fd, new, old[0]):
            # All attached programs must allow an access, so the new one counts from here on.
            _bpf(BPF_PROG_ATTACH, pack("=4I", cgroup_fd, new, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI), "attach")
            for program_fd in old:
                _bpf(BPF_PROG_DETACH, pack("=3I", cgroup_fd, program_fd, BPF_CGROUP_DEVICE), "detach")
    finally:
        for fd in (new, *old):
            os.close(fd)


def _replace(cgroup_fd: int, new: int, old: int) -> bool:
    """Replace a program atomically; return False before Linux 5.6, or if it was attached without the flag."""
    flags = BPF_F_ALLOW_MULTI | BPF_F_REPLACE
    try:
        _bpf(BPF_PROG_ATTACH, pack("=5I", cgroup_fd, new, BPF_CGROUP_DEVICE, flags, old), "replace")
    except OSError as error:
        if error.errno not in (EINVAL, ENOENT):
            raise
        return False
    return True


def _load(program: bytes) -> int:
    code, licence = create_string_buffer(program, len(program)), create_string_buffer(b"Apache-2.0")
    count = len(program) // _INSTRUCTION_SIZE
    attr = pack("=IIQQ", BPF_PROG_TYPE_CGROUP_DEVICE, count, addressof(code), addressof(licence))
    return _bpf(BPF_PROG_LOAD, attr, "load")


def _attached(cgroup_fd: int) -> list[int]:
    """Open the device programs attached to this cgroup itself. The caller closes them."""
    ids = create_string_buffer(4 * _MOST_ATTACHED)
    query = "=IIIIQI"
    attr = create_string_buffer(
        pack(query, cgroup_fd, BPF_CGROUP_DEVICE, 0, 0, addressof(ids), _MOST_ATTACHED), calcsize(query)
    )
    check(syscall(SYS_BPF, BPF_PROG_QUERY, attr, len(attr)), "bpf", "query device filters")
    count = unpack_from("=I", attr, calcsize(query) - 4)[0]
    return [
        _bpf(BPF_PROG_GET_FD_BY_ID, pack("=I", program), "open") for program in unpack_from(f"={count}I", ids)
    ]


def _bpf(command: int, attr: bytes, what: str) -> int:
    return check(syscall(SYS_BPF, command, attr, len(attr)), "bpf", f"{what} device filter")
