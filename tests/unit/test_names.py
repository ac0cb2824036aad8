"""One word per idea: a class name, and a file name, leads to one place."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING

from devtools.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PARALLEL = {
    "Connection": "what a call needs of its connection, and the connection",
    "Descriptor": "OCI's word, and WASI's",
    "DeviceRule": "the spec's rule, and the kernel's that it becomes",
    "Exit": "the guest's exit under preview 1, and under 0.2",
    "Guest": "the guest of preview 1, and of 0.2",
    "Network": "the spec's cgroup settings, and WASI's capability",
    "Parent": "what a workload needs of the creating process, and how the child has it",
    "UsageError": "a wrong command line of runwasi, and of a shim",
}
"""Class names that stand for one idea in two packages, or are two specifications' own."""

_GENERATED = ROOT / "runwasi/wire/messages"


def _classes() -> Iterator[tuple[str, str]]:
    """Yield each class at the top of a file, by its name without an underscore, and the file."""
    for path in sorted((ROOT / "runwasi").rglob("*.py")):
        if path.parent == _GENERATED:
            continue
        body = ast.parse(path.read_bytes()).body
        body += [inner for node in body if isinstance(node, ast.If) for inner in node.body]
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield node.name.lstrip("_"), str(path.relative_to(ROOT))


def test_no_two_ideas_have_one_class_name() -> None:
    files = defaultdict(list)
    for name, file in _classes():
        files[name].append(file)
    assert {name: found for name, found in files.items() if len(found) > 1 and name not in PARALLEL} == {}
    assert [name for name in PARALLEL if len(files[name]) < 2] == [], "these are no longer double"


def test_no_two_files_have_one_name() -> None:
    files = defaultdict(list)
    for path in sorted((ROOT / "runwasi").rglob("*.py")):
        if path.name != "__init__.py" and path.parent != _GENERATED:
            files[path.name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in files.items() if len(found) > 1} == {}
