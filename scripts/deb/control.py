"""Writes what dpkg reads of a package: control fields, changelog and copyright.

Source: Debian policy, chapter 5 and sections 4.4 and 12.5.
"""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

_SUMMARY = "container runtime for WebAssembly and native Linux programs"
_ABOUT = """\
runwasi runs WebAssembly modules and components and native Linux containers
side by side: as shims of containerd, in Kubernetes, from Docker and Podman in
place of runc, and by hand.
"""
_RUNTIME = (
    _ABOUT
    + """\
.
The package brings a Python interpreter and all libraries of its own, and
depends on none of the system's. Running pods keep the version that they
started with, through upgrades and removals.
"""
)
_UNITS = (
    _ABOUT
    + """\
.
This package has systemd run the node daemon, which starts pods sooner.
Without it containerd's shims work too.
"""
)


def version_of(version: str) -> str:
    """Return a Python version as Debian writes it: 1.0rc1 becomes 1.0~rc1, which comes before 1.0.

    Source: PEP 440; man 7 deb-version.
    """
    return re.sub(r"(?<=\d)\.?(a|b|rc|dev)(?=\d)", r"~\1", version)


def runtime(version: str, arch: str, maintainer: str, size: int) -> str:
    """Return the control file of the package runwasi; size is its installed size in KiB."""
    fields = {
        "Package": "runwasi",
        "Version": version,
        "Architecture": arch,
        "Multi-Arch": "foreign",
        "Suggests": "containerd, criu, runwasi-systemd, uidmap",
    }
    return _control(fields, maintainer, size, _SUMMARY, _RUNTIME)


def units(version: str, maintainer: str, size: int) -> str:
    """Return the control file of the package runwasi-systemd; size is its installed size in KiB."""
    fields = {
        "Package": "runwasi-systemd",
        "Version": version,
        "Architecture": "all",
        "Depends": f"runwasi (= {version})",
    }
    return _control(fields, maintainer, size, "node daemon of runwasi, run by systemd", _UNITS)


def _control(fields: dict[str, str], maintainer: str, size: int, summary: str, about: str) -> str:
    fields |= {
        "Installed-Size": str(size),
        "Maintainer": maintainer,
        "Section": "admin",
        "Priority": "optional",
    }
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return "\n".join([*lines, f"Description: {summary}", textwrap.indent(about, " ")])


def changelog(text: str, version: str, debian_version: str, maintainer: str, time: int) -> str:
    """Return a version's section of CHANGELOG.md in Debian's form, or what is not released yet.

    time is in seconds since 1970. Raises LookupError if there is neither.
    """
    for title in (rf"\[?{re.escape(version)}\]?", "Unreleased"):
        found = re.search(rf"^## {title}(?: .*)?$", text, re.MULTILINE)
        if found:
            break
    else:
        raise LookupError(f"CHANGELOG.md has no section for {version}")
    section = text[found.end() :].split("\n## ", 1)[0]
    items = re.sub(r"\n +", " ", section.strip()).splitlines()  # an item's lines as one
    lines = [line for item in items if item for line in _entry(item)]
    head = f"runwasi ({debian_version}) unstable; urgency=medium"
    tail = f" -- {maintainer}  {format_datetime(datetime.fromtimestamp(time, UTC))}"
    return "\n".join([head, "", *lines, "", tail, ""])


def _entry(item: str) -> list[str]:
    if item.startswith("### "):
        return [f"  [ {item.removeprefix('### ')} ]"]
    text = f"* {item.removeprefix('- ')}"
    return textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def copyright_of(licenses: Path, time: int) -> str:
    """Return the copyright file: our licence, and those of the packages whose files the bundle has.

    time is that of the package, in seconds since 1970.
    """
    parts = [
        f"Copyright {datetime.fromtimestamp(time, UTC).year} the authors of runwasi, whom its history names.",
        "",
        "runwasi is under the Apache License, version 2.0, which is in",
        "/usr/share/common-licenses/Apache-2.0.",
        "",
        "The Python packages below site-packages have their licences beside them, in",
        "folders that end with .dist-info. The following are those of the Debian",
        "packages that the interpreter and the libraries come from.",
        "",
    ]
    for path in sorted(licenses.glob("*/copyright")):
        parts += ["-" * 78, f"From {path.parent.name}:", "", path.read_text().rstrip(), ""]
    return "\n".join(parts)
