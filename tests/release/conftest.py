"""Fixtures for tests of what a release holds. They need `make bundle`, and for the packages `make deb`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import runwasi
from devtools.places import CACHE, ROOT
from scripts.deb import __main__ as deb
from tests.integration.conftest import (  # noqa: F401
    _nothing_left_by_the_test,
    _nothing_left_in_the_end,
    folder,
    session_folder,
)

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
NAME = f"runwasi-{runwasi.__version__}-linux-{ARCH}"


@pytest.fixture(scope="session")
def bundle(session_folder: Path) -> Path:  # noqa: F811
    """The bundle's folder, as unpacked from its archive."""
    archive = ROOT / f"dist/{NAME}.tar.xz"
    assert archive.exists(), f"make bundle first: there is no {archive}"
    subprocess.run(["tar", "-xJf", archive, "-C", session_folder], check=True)
    return session_folder / NAME


@pytest.fixture(scope="session")
def packages(bundle: Path, session_folder: Path) -> tuple[Path, Path]:  # noqa: F811
    """Both Debian packages of this version, without compression."""
    return deb.make(bundle, ARCH, runwasi.__version__, session_folder / "packages", 0, "none")


@pytest.fixture(scope="session")
def newer_packages(bundle: Path, session_folder: Path) -> tuple[Path, Path]:  # noqa: F811
    """Both packages of a later version, whose bundle differs in the version's name."""
    name = (bundle / "NAME").read_text().strip()
    newer = name.translate(str.maketrans("abcdef0123456789", "1234567890abcdef"))
    newer = name[: name.index("-")] + newer[name.index("-") :]
    changed = shutil.copytree(bundle, session_folder / "newer", symlinks=True)
    for path in (changed / "NAME", changed / "version/client"):
        path.write_bytes(path.read_bytes().replace(name.encode(), newer.encode()))
    return deb.make(changed, ARCH, f"{runwasi.__version__}.1", session_folder / "newer-packages", 0, "none")


@pytest.fixture(params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest, folder: Path) -> Iterator[Path]:  # noqa: F811
    """A root of a Debian release with containerd and runc, and no runwasi, for one test to change."""
    base = CACHE / f"debian-{request.param}"
    assert base.is_dir(), f"make test-deb first: there is no {base}"
    for name in ("changes", "work", "root"):
        (folder / name).mkdir()
    options = f"lowerdir={base},upperdir={folder}/changes,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", folder / "root"], check=True)
    try:
        yield folder / "root"
    finally:
        subprocess.run(["umount", folder / "root"], check=True)
