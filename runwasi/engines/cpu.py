"""Identifies this machine's CPU features: compiled code may use them all, and then runs nowhere else."""

from __future__ import annotations

import os

from runwasi.startup.blake2 import blake2b

_FIELDS = (b"flags", b"Features")  # of x86 and of arm64; man 5 proc_cpuinfo


def features(cpuinfo: str = "/proc/cpuinfo") -> str:
    """Return a digest of the first CPU's features, 16 hexadecimal digits; "unknown" if the kernel shows none.

    Only the first CPU is read, as the kernel formats each CPU's text on demand. All CPUs are assumed to be alike.
    """
    try:
        fd = os.open(cpuinfo, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "unknown"
    try:
        text = os.read(fd, 8192)
    finally:
        os.close(fd)
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        if name.strip() in _FIELDS:
            return str(blake2b(b" ".join(sorted(value.split())), digest_size=8).hexdigest())
    return "unknown"
