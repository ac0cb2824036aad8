"""Makes Debian packages of a later version, which differs in its name only.

    python -m tests.support.newer_packages FOLDER

They are made from the bundle's archive in dist, and not compressed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import runwasi
from devtools.places import ROOT
from runwasi.startup import installation
from scripts import launchers
from scripts.deb import __main__ as deb
from scripts.deb import control

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
NAME = f"runwasi-{runwasi.__version__}-linux-{ARCH}"
ARCHIVE = ROOT / f"dist/{NAME}.tar.xz"
VERSION = f"{runwasi.__version__}.1"


def unpack(into: Path) -> Path:
    """Unpack the bundle into a folder; return its own."""
    assert ARCHIVE.exists(), f"make bundle first: there is no {ARCHIVE}"
    subprocess.run(["tar", "-xJf", ARCHIVE, "-C", into], check=True)
    return into / NAME


def made_packages() -> tuple[Path, Path]:
    """Return both packages of this version and architecture, as `make deb` made them."""
    version = control.version_of(runwasi.__version__)
    made = ROOT / f"dist/runwasi_{version}_{ARCH}.deb", ROOT / f"dist/runwasi-systemd_{version}_all.deb"
    assert all(path.exists() for path in made), f"make deb first: there is no {made[0]}, or no {made[1]}"
    return made


def make_newer(bundle: Path, into: Path) -> tuple[Path, Path]:
    """Make both packages from a bundle's folder, which is changed."""
    name = (bundle / "NAME").read_text().strip()
    newer = f"{VERSION}-{name.rpartition('-')[2]}"
    (bundle / "NAME").write_text(f"{newer}\n")
    where = f"../lib/runwasi/{newer}/{installation.LAUNCHERS}/%s"
    launchers.compile_client(str(bundle / "version/client"), VERSION=newer, LAUNCHER=where)
    return deb.make(bundle, ARCH, VERSION, into, 0, "none")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target) as folder:
        make_newer(unpack(Path(folder)), target)
