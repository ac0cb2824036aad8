"""Fixtures for tests of what a release holds. They need `make bundle`, and for the packages `make deb`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import runwasi
from devtools.places import ROOT
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
