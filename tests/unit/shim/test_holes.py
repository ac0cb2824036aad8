"""After the holes are filled, what is made lies together."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtools.places import ROOT
from runwasi.shim.daemon import holes

PAGE = 4096


@pytest.mark.parametrize("size", [48, 64, 128, 512])
def test_new_objects_share_a_few_pages(size: int) -> None:
    scattered = [bytes(size - 33) for _ in range(20_000)]
    del scattered[::3]
    kept = holes.fill()
    made = [bytes(size - 33) for _ in range(PAGE // size)]
    assert (
        len({id(block) // PAGE for block in made}) <= 3
    )  # one, or two of one pool and the first of the next
    assert kept


def test_filling_takes_few_megabytes() -> None:
    # in an interpreter of its own: how many holes this one has is up to the tests before
    code = "from runwasi.shim.daemon import holes; print(sum(block.__sizeof__() for block in holes.fill()))"
    command = [sys.executable, "-c", code]
    taken = int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    assert taken < 8 << 20
