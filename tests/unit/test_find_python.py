"""scripts/find-python: the distribution's newest Python that a build can use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.places import ROOT

_FAKE = """\
#!/bin/sh
case $3 in
*ensurepip*) exit {incomplete} ;;
*version_info*) exit {old} ;;
*) echo "$0" ;;
esac
"""


def found(folder: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [ROOT / "scripts/find-python"],
        env={"PATH": "/nowhere", "FIND_PYTHON_IN": str(folder), **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, os.path.basename(done.stdout.strip())


@pytest.fixture
def pythons(tmp_path: Path) -> Path:
    """A folder of Pythons: 3.14 lacks its headers, and python3 is one of them."""
    for name, incomplete in (("python3", 0), ("python3.11", 0), ("python3.13", 0), ("python3.14", 1)):
        put(tmp_path / name, incomplete=incomplete)
    return tmp_path


def put(path: Path, *, incomplete: int = 0, old: int = 0) -> None:
    path.write_text(_FAKE.format(incomplete=incomplete, old=old))
    path.chmod(0o755)


def test_the_newest_that_can_build_is_taken(pythons: Path) -> None:
    assert found(pythons) == (0, "python3.13")


def test_where_none_has_all_it_takes_the_default_one_is(tmp_path: Path) -> None:
    put(tmp_path / "python3", incomplete=1)
    put(tmp_path / "python3.12", incomplete=1)
    assert found(tmp_path) == (0, "python3")


def test_one_from_path_comes_last(tmp_path: Path) -> None:
    put(tmp_path / "python3", old=1)
    assert found(tmp_path / "nothing", PATH=str(tmp_path))[0] == 1
    put(tmp_path / "python3.12", incomplete=1)
    assert found(tmp_path / "nothing", PATH=str(tmp_path)) == (0, "python3.12")


def test_a_python_that_is_named_is_taken(pythons: Path) -> None:
    assert found(pythons, PYTHON=str(pythons / "python3.11")) == (0, "python3.11")
    put(pythons / "python3.10", old=1)
    assert found(pythons, PYTHON=str(pythons / "python3.10"))[0] == 1


def test_this_machine_has_one() -> None:
    done = subprocess.run([ROOT / "scripts/find-python"], stdout=subprocess.PIPE, text=True, check=True)
    assert os.path.isfile(done.stdout.strip())
    assert sys.version_info >= (3, 11)
