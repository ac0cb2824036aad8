"""The tutorial's code is the example's, which the engines' tests run."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from devtools.places import ROOT

TUTORIAL = (ROOT / "docs" / "engine-authors.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "runwasi-pywasm"
BLOCKS = re.findall(r"^```(?:python|toml)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def example() -> str:
    files = [*sorted(EXAMPLE.rglob("*.py")), EXAMPLE / "pyproject.toml"]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize(("returns", "errors"), [("int", 0), ("str", 1)])
def test_an_engine_is_checked_against_our_types(tmp_path: Path, returns: str, errors: int) -> None:
    (tmp_path / "engine.py").write_text(f"""
from runwasi.engines.engine import Context, Engine, Stdio

class Mine(Engine):
    def can_handle(self, ctx: Context) -> bool:
        return True

    def run_wasi(self, ctx: Context, stdio: Stdio) -> {returns}:
        raise NotImplementedError
""")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", "engine.py"]
    checked = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False)
    assert (checked.returncode, checked.stdout.count(": error: ")) == (errors, errors), checked.stdout


def test_there_is_code_in_the_tutorial() -> None:
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_in_the_example(block: str, example: str) -> None:
    assert squeezed(textwrap.dedent(block)) in squeezed(example)
