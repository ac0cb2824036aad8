"""The coverage of processes that end in ways which coverage.py does not see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools import coverage_notes

_PROGRAM = """\
import os, sys

def choose(way):
    if way == "fork":
        child = os.fork()
        if child == 0:
            ran = "in the child"
            os._exit(0)
        os.waitpid(child, 0)
    elif way == "execute":
        ran = "before the program"
        os.execv("/bin/true", ["true"])
    else:
        ran = "to the end"

choose(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("way", "said"), [("fork", "in the child"), ("execute", "before"), ("end", "to the end")]
)
def test_lines_and_branches_are_noted_before_a_process_is_gone(tmp_path: Path, way: str, said: str) -> None:
    source = tmp_path / "program.py"
    source.write_text(_PROGRAM)
    coverage_notes.prepare(tmp_path / "notes", [source])
    code = (
        coverage_notes.hook(str(tmp_path / "notes")) + f"exec(compile({_PROGRAM!r}, {str(source)!r}, 'exec'))"
    )
    subprocess.run([sys.executable, "-IS", "-c", code, way], check=True, timeout=60)
    arcs = coverage_notes.noted(tmp_path / "notes")[str(source)]
    lines = _PROGRAM.splitlines()
    ran = {lines[here - 1].strip() for here, _ in arcs if here > 0 and "ran =" in lines[here - 1]}
    assert len(ran) == 1
    assert said in ran.pop()
    first = lines.index('    if way == "fork":') + 1
    assert [there > first + 1 for here, there in arcs if here == first and there != first] == [way != "fork"]
