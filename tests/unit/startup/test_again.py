"""A program that replaces another begins again when its modules cannot be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runwasi.startup import again

PROGRAM = f"""\
#!{sys.executable} -IS
import sys
try:
    import not_there
except ImportError as error:
{"".join(f"    {line}" for line in again.text("sys.argv[0]").splitlines(keepends=True))}\
    sys.exit("given up")
"""


def run(program: Path, *arguments: str, fd: int) -> list[str]:
    program.write_text(PROGRAM)
    program.chmod(0o755)
    done = subprocess.run(
        [str(program), *arguments], pass_fds=[fd], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_it_begins_so_many_times(tmp_path: Path) -> None:
    with open(os.memfd_create("handover"), "rb") as file:
        said = run(tmp_path / "program", "-handover", str(file.fileno()), fd=file.fileno())
    assert len(said) == again.ATTEMPTS
    assert "cannot load its modules yet: No module named 'not_there'" in said[0]
    assert said[-1] == "given up"


def test_one_that_replaces_nothing_begins_once(tmp_path: Path) -> None:
    with open(os.memfd_create("handover"), "rb") as file:
        for arguments in ((), ("-handover", "format")):
            assert run(tmp_path / "program", *arguments, fd=file.fileno()) == ["given up"]
