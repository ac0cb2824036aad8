"""What this machine's CPU can do, in a word: compiled code may use all of it, and runs nowhere else."""

from __future__ import annotations

import os

from runwasi.startup.blake2 import blake2b

_FIELDS = (b"flags", b"Features")  # of x86 and of arm64; man 5 proc_cpuinfo


def features(cpuinfo: str = "/proc/cpuinfo") -> str:
    """Return a digest of the first CPU's features, 16 hexadecimal digits; "unknown" where the kernel tells none.

    Only the first CPU is read: the kernel makes each one's text when it is asked for. All are taken to be alike.
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
