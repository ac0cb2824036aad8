"""Immortal objects, in interpreters of their own: what is immortal stays so."""

from __future__ import annotations

import subprocess
import sys

from devtools.places import ROOT

_PROGRAM = """
import sys
sys.path.append({root!r})

class Thing:
    def __init__(self):
        self.items = [1, 2]

    def grow(self):
        self.items.append(str(len(self.items)))
        return self.items

def constant():
    return "a constant of a function", 1.5

thing = Thing()
from runwasi.startup import immortal
count = immortal.make_immortal()
before = sys.getrefcount(thing), sys.getrefcount(constant()[0]), sys.getrefcount(thing.items)
held = [thing, constant()[0], thing.items] * 1000
after = sys.getrefcount(thing), sys.getrefcount(constant()[0]), sys.getrefcount(thing.items)
for _ in range(1000):
    thing.grow()
    made = Thing()
del held, thing
import gc
gc.collect()
print(count > 10_000, before == after)
"""


def test_reachable_objects_become_immortal_if_the_interpreter_supports_that() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(root=str(ROOT))], capture_output=True, text=True, check=True
    )
    immortal = str((3, 12) <= sys.version_info[:2] <= (3, 14))
    assert done.stdout.split() == [immortal, immortal]
