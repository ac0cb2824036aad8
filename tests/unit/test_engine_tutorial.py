"""The tutorial's code is the example's, which the engines' tests run."""

from __future__ import annotations

import re
import textwrap

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


def test_there_is_code_in_the_tutorial() -> None:
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_in_the_example(block: str, example: str) -> None:
    assert squeezed(textwrap.dedent(block)) in squeezed(example)
