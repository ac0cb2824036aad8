"""In a container's root a process imports nothing: the files would be the container's."""

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
from runwasi.executor.child.launch import stop_imports
open({folder!r} + "/pack", "wb").write(b"?")
packs.install({folder!r} + "/pack", {folder!r}, {{"runwasi.theirs": ("", 0, 0, 1)}}, ((("runwasi.theirs",), 1, 1),))
stop_imports(None)
import fractions, _signal
for name in ("theirs", "encodings.theirs", "runwasi.theirs"):
    try:
        __import__(name)
    except ImportError as error:
        print(error)
"""


def test_modules_in_the_path_are_not_found_but_those_in_memory_are(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("print('run as ours')")
    code = _CODE.format(root=str(_ROOT), folder=str(tmp_path))
    said = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True)
    names = ("theirs", "encodings.theirs", "runwasi.theirs")
    assert said.stdout.splitlines() == [f"No module named '{name}'" for name in names]


def test_imports_stop_right_after_the_root_is_entered() -> None:
    names = [step.__name__ for step in INIT_STEPS]
    assert names.index("stop_imports") == names.index("enter_root") + 1
    names = [step.__name__ for step in EXEC_STEPS]
    assert names.index("stop_imports") == names.index("enter_same_root") + 1
