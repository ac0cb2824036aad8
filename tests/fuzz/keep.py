"""Choose from the finds of a search those that belong into the repository: small, and each reaches something new."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devtools.places import ROOT
from tests.fuzz.harness import CORPUS, check, corpus_of, load

if TYPE_CHECKING:
    from types import FrameType

    from tests.fuzz.harness import Target

    Step = tuple[str, int, int]

_MOST = 2048
"""Bytes of an input that is kept."""
_PRODUCT = str(ROOT / "runwasi")


def keep(name: str, found: Path) -> None:
    """Add to the corpus of a target in Python what takes steps from line to line that the corpus does not."""
    target = load(name)
    taken: set[Step] = set()
    for data in (*target.seeds(), *(path.read_bytes() for path in corpus_of(name))):
        taken |= _steps(target, data)
    candidates = [path.read_bytes() for path in found.iterdir() if path.stat().st_size <= _MOST]
    for data in sorted(candidates, key=len):
        steps = _steps(target, data)
        if steps <= taken:
            continue
        taken |= steps
        kept = CORPUS / name / hashlib.sha256(data).hexdigest()[:12]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)


def _steps(target: Target, data: bytes) -> set[Step]:
    """Run an input and return the steps that it takes in the product's code."""
    steps: set[Step] = set()
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if event == "call" and not file.startswith(_PRODUCT):
            return None
        if event == "line":
            steps.add((file, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        elif event == "return":
            last.pop(frame, None)
        return trace

    sys.settrace(trace)
    try:
        check(target, data)
    finally:
        sys.settrace(None)
    return steps
