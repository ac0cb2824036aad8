"""The bundle's installer writes the paths of loader and libraries into the interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bundle.interpreter import LIBRARIES, LOADER, WrongInterpreter, name_loader
from scripts.launchers import compiler


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program with placeholders, which ends with 7 and needs a library of a folder that nobody looks into."""
    (tmp_path / "libraries").mkdir()
    source, library, path = tmp_path / "source.c", tmp_path / "libraries/libseven.so", tmp_path / "program"
    source.write_text("int seven(void) { return 7; }")
    subprocess.run([compiler(), "-shared", "-fPIC", "-o", library, source], check=True)
    source.write_text("int seven(void); int main(void) { return seven(); }")
    linking = [f"-Wl,--dynamic-linker={LOADER}", f"-Wl,-rpath={LIBRARIES}", "-Wl,--disable-new-dtags"]
    subprocess.run([compiler(), "-o", path, source, *linking, library], check=True)
    return path


def _loader() -> str:
    found = subprocess.run(
        ["readelf", "--program-headers", sys.executable], capture_output=True, text=True, check=True
    )
    return found.stdout.partition("interpreter: ")[2].partition("]")[0]


def test_the_program_starts_with_the_named_loader_and_libraries(program: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):  # no loader
        subprocess.run([program], check=True)
    name_loader(str(program), _loader(), str(tmp_path / "libraries"))
    assert subprocess.run([program], check=False).returncode == 7


def test_a_file_that_shares_the_programs_content_keeps_it(program: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.hardlink_to(program)
    before = other.read_bytes()
    name_loader(str(program), "/loader", "/libraries")
    assert other.read_bytes() == before
    assert program.read_bytes() != before


def test_a_path_that_is_too_long_leaves_the_program_as_it_was(program: Path) -> None:
    before = program.read_bytes()
    with pytest.raises(WrongInterpreter, match="the path is longer than 1023 bytes"):
        name_loader(str(program), "/loader", "/" + "l" * 1023)
    assert program.read_bytes() == before


def test_a_file_that_is_no_bundles_interpreter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(WrongInterpreter, match="is not the interpreter of a bundle"):
        name_loader(str(path), "/loader", "/libraries")
