"""Packages import only from the layers below them."""

from __future__ import annotations

import pytest

from devtools.layers import LAYERS, allowed, cycles, imports, package_imports
from devtools.places import ROOT
from scripts.draw_layers import PICTURE, drawn

PACKAGES = sorted(package for row in LAYERS for package in row)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_below(package: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports runwasi.{imported}"
        for file, line, imported in package_imports(package)
        if imported not in allowed(package)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_package_has_its_layer() -> None:
    packages = {path.parent.name for path in (ROOT / "runwasi").glob("*/__init__.py")}
    assert packages == set(PACKAGES)


@pytest.mark.parametrize("folder", ["devtools", "scripts", "runwasi"])
def test_only_tests_import_tests(folder: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line, module in imports(file)
        if module.partition(".")[0] == "tests"
    ]
    assert not wrong, "\n".join(wrong)


def test_the_picture_shows_the_layers_as_they_are() -> None:
    assert PICTURE.read_text() == drawn(), "run python -m scripts.draw_layers"


def test_no_files_import_each_other_in_a_circle() -> None:
    assert cycles() == [], "imports for type checkers count too"
