"""The text of `runwasi --version`, in the lines that callers of runc's look for."""

from __future__ import annotations

import sys

from runwasi import __version__
from runwasi.oci.spec import VERSION


def version_text() -> str:
    """Return the version and those of what it stands on."""
    python = ".".join(map(str, sys.version_info[:3]))
    lines = [f"runwasi version {__version__}", f"spec: {VERSION}", f"python: {python}"]
    seccomp = libseccomp_version()
    if seccomp:
        lines.append(f"libseccomp: {seccomp}")
    return "\n".join(lines) + "\n"


def libseccomp_version() -> str:
    """Return the version of the system's libseccomp, "" without one. Source: man 3 seccomp_version."""
    from ctypes import CDLL, POINTER, Structure, c_uint  # late: only to print a version

    class Version(Structure):
        _fields_ = [("major", c_uint), ("minor", c_uint), ("micro", c_uint)]

    try:
        library = CDLL("libseccomp.so.2")
    except OSError:
        return ""
    library.seccomp_version.restype = POINTER(Version)
    version = library.seccomp_version().contents
    return f"{version.major}.{version.minor}.{version.micro}"
