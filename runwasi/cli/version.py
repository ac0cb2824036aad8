"""Makes the text of `runwasi --version`, with the lines that callers of runc look for."""

from __future__ import annotations

import sys

from runwasi import __version__
from runwasi.linux.seccomp_filter import library_version
from runwasi.oci.spec import VERSION


def version_text() -> str:
    """Return the versions of runwasi, the specification, Python and libseccomp."""
    python = ".".join(map(str, sys.version_info[:3]))
    lines = [f"runwasi version {__version__}", f"spec: {VERSION}", f"python: {python}"]
    seccomp = library_version()
    if seccomp:
        lines.append(f"libseccomp: {seccomp}")
    return "\n".join(lines) + "\n"
