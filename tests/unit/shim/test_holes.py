"""After the holes are filled, what is made lies together.

Each in an interpreter of its own: how many holes this one has is up to the tests before.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtools.places import ROOT

_PAGES = """
import sys
from runwasi.shim.daemon import holes
size = int(sys.argv[1])
scattered = [bytes(size - 33) for _ in range(20_000)]
del scattered[::3]
kept = holes.fill()
made = [bytes(size - 33) for _ in range(4096 // size)]
print(len({id(block) // 4096 for block in made}))
"""
_BYTES = "from runwasi.shim.daemon import holes; print(sum(block.__sizeof__() for block in holes.fill()))"


def _number(code: str, *arguments: str) -> int:
    command = [sys.executable, "-c", code, *arguments]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("size", [48, 64, 128, 512])
def test_new_objects_share_a_few_pages(size: int) -> None:
    assert _number(_PAGES, str(size)) <= 3  # one, or two of one pool and the first of the next


def test_filling_takes_few_megabytes() -> None:
    assert _number(_BYTES) < 8 << 20
