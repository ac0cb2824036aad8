"""Fixtures for tests of what a release holds. They need `make bundle`, and for the packages `make deb`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.places import CACHE
from tests.integration.conftest import (  # noqa: F401
    _nothing_left_by_the_test,
    folder,
    session_folder,
)
from tests.support.leak_guard import _nothing_left_in_the_end  # noqa: F401
from tests.support.newer_packages import made_packages, make_newer, unpack


@pytest.fixture(scope="session")
def bundle(session_folder: Path) -> Path:  # noqa: F811
    """The bundle's folder, as unpacked from its archive."""
    return unpack(session_folder)


@pytest.fixture(scope="session")
def packages() -> tuple[Path, Path]:
    """Both Debian packages of this version, as they were made."""
    return made_packages()


@pytest.fixture(scope="session")
def newer_packages(bundle: Path, session_folder: Path) -> tuple[Path, Path]:  # noqa: F811
    """Both packages of a later version, which differs in its name only; they are not compressed."""
    changed = shutil.copytree(bundle, session_folder / "newer", symlinks=True)
    return make_newer(changed, session_folder / "newer-packages")


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
