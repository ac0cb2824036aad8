"""Once a process is in a container's root it imports nothing any more: the files would be the container's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runwasi.executor.child.steps import EXEC_STEPS, INIT_STEPS

_ROOT = Path(__file__).parents[3]
_CODE = """
import sys
sys.path += [{root!r}, {folder!r}]
import fractions
from runwasi.startup import packs
from runwasi.executor.child.launch import import_no_more
open({folder!r} + "/pack", "wb").write(b"?")
packs.install({folder!r} + "/pack", {folder!r}, {{"runwasi.theirs": ("", 0, 0, 1)}}, ((("runwasi.theirs",), 1, 1),))
import_no_more(None)
import fractions, _signal
for name in ("theirs", "encodings.theirs", "runwasi.theirs"):
    try:
        __import__(name)
    except ImportError as error:
        print(error)
"""


def test_a_module_in_the_path_is_not_found_any_more_and_those_in_memory_are(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("print('run as ours')")
    code = _CODE.format(root=str(_ROOT), folder=str(tmp_path))
    said = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True)
    names = ("theirs", "encodings.theirs", "runwasi.theirs")
    assert said.stdout.splitlines() == [f"No module named '{name}'" for name in names]


def test_it_is_so_from_the_step_on_that_enters_the_root() -> None:
    names = [step.__name__ for step in INIT_STEPS]
    assert names.index("import_no_more") == names.index("enter_root") + 1
    names = [step.__name__ for step in EXEC_STEPS]
    assert names.index("import_no_more") == names.index("enter_same_root") + 1
