"""The files and functions named in docs/architecture.md exist."""

from __future__ import annotations

import ast
import re

import pytest

from devtools.places import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/.-]+\.(?:py|c|proto))(?::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_file_that_the_page_names_is_there_and_has_what_it_says(file: str, name: str) -> None:
    path = next((folder / file for folder in (ROOT, ROOT / "runwasi") if (folder / file).is_file()), None)
    assert path is not None
    if name and path.suffix == ".py":
        assert name in _top_level_names(ast.parse(path.read_text()))
    elif name:
        assert re.search(rf"^\w.*\b{name}\(", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("folder", sorted(set(re.findall(r"^\| `([\w/]+)/`", PAGE, re.MULTILINE))))
def test_a_folder_that_the_page_names_is_there(folder: str) -> None:
    assert (ROOT / "runwasi" / folder).is_dir()


def test_every_package_has_a_row() -> None:
    packages = {path.parent.name for path in (ROOT / "runwasi").glob("*/__init__.py")}
    assert {name for name in packages if f"| `{name}/" not in PAGE} == set()


def _top_level_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names
