"""Records the system calls of wasm workloads while tests run: what a process calls once it has its filter.

With RUNWASI_TESTS_TRACE, the name of a folder, strace runs every program that `traced` prefixes, and writes a file
into it. The filter is then the widest, and no obstacle: strace sees a call before the filter does.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import NamedTuple

VARIABLE = "RUNWASI_TESTS_TRACE"
_OWN_TRACE = "RUNWASI_TESTS_OWN_TRACE"
"""Tells a traced program where its trace is."""

OPTIONS = ("-f", "-qq", "-X", "raw", "-s", "0", "--pidns-translation")
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_CHILD = re.compile(r"= (\d+)(?: /\* (\d+) in strace's PID NS \*/)?$")
_FORKS = ("clone", "clone3", "fork", "vfork")


class Called(NamedTuple):
    """A system call: its name, and its arguments as numbers; None where strace shows a structure or a string."""

    name: str
    arguments: tuple[int | None, ...]


def traced() -> list[str]:
    """Return the words to put before a command to have it recorded; none unless RUNWASI_TESTS_TRACE is set.

    Source: man 1 strace.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return []
    trace = str(Path(folder, f"?.{uuid.uuid4().hex}"))
    return ["strace", *OPTIONS, "-E", f"{_OWN_TRACE}={trace}", "-o", trace]


def put_label(label: str) -> bool:
    """Label the trace of this process; return False where none is recorded. Raises OSError."""
    trace = os.environ.get(_OWN_TRACE)
    if not trace:
        return False
    os.rename(trace, Path(trace).with_name(f"{label}.{uuid.uuid4().hex}"))
    return True


def label_of(trace: Path) -> str:
    """Return the label that a trace was recorded under."""
    return trace.name.partition(".")[0]


def calls_behind_the_filter(trace: str) -> set[Called]:
    """Return the calls that confined processes made: those that loaded a filter, from then on, and their children.

    trace is the text that strace wrote with OPTIONS.
    """
    lines = trace.splitlines()
    confined = _confined(lines)
    found = set()
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if match and number > confined.get(match[1], len(lines)):
            found.add(Called(match[2], _arguments(match[3])))
    return found


def _confined(lines: list[str]) -> dict[str, int]:
    """Return from which line on each confined process is one."""
    confined: dict[str, int] = {}
    parents: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line) or _RESUMED.match(line)
        if match is None:
            continue
        pid, name, rest = match.groups()
        if name == "seccomp" and rest.startswith("0x1,") and rest.endswith("= 0"):
            confined.setdefault(pid, number)
        child = _CHILD.search(rest) if name in _FORKS else None
        if child:
            parents[child[2] or child[1]] = (pid, number)
    for pid in parents:
        if _begins_confined(pid, parents, confined):
            confined[pid] = -1
    return confined


def _begins_confined(pid: str, parents: dict[str, tuple[str, int]], confined: dict[str, int]) -> bool:
    while pid in parents:
        parent, number = parents[pid]
        if confined.get(parent, number) < number:
            return True
        pid = parent
    return False


def _arguments(text: str) -> tuple[int | None, ...]:
    """Return the arguments of a call, of which only plain numbers are of interest; flags of clone are `flags=`."""
    found: list[int | None] = []
    depth = 0
    for part in re.split(r"([,(){}\[\]])", text.partition(" <unfinished")[0]):
        if part in "([{" and part:
            depth += 1
        elif part in ")]}" and part:
            depth -= 1
            if depth < 0:
                break
        elif depth == 0 and part.strip() and part != ",":
            found.append(_number(part.strip().removeprefix("flags=")))
    return tuple(found)


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return 0 if text == "NULL" else None
