"""Packages import only from the layers below them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.places import ROOT

LAYERS = (
    {"cli", "shim"},
    {"executor", "images", "containerd"},
    {"engines", "wasi", "oci"},
    {"linux", "wire", "startup", "node"},
)
NEIGHBOURS = {"engines": {"wasi"}, "wasi": {"engines"}, "linux": {"startup"}}
"""Packages of one's own layer that may be used all the same."""
PACKAGES = sorted(package for layer in LAYERS for package in layer)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_below(package: str) -> None:
    allowed = {package, *_below(package), *NEIGHBOURS.get(package, ())}
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports runwasi.{imported}"
        for file in sorted((ROOT / "runwasi" / package).rglob("*.py"))
        for line, imported in _imports_of_ours(file)
        if imported not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_every_package_has_its_layer() -> None:
    packages = {path.parent.name for path in (ROOT / "runwasi").glob("*/__init__.py")}
    assert packages == set(PACKAGES)


@pytest.mark.parametrize("folder", ["devtools", "scripts", "runwasi"])
def test_only_tests_import_tests(folder: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for _, module in _imports(file)
        if module.partition(".")[0] == "tests"
    ]
    assert not wrong, "\n".join(wrong)


def _below(package: str) -> set[str]:
    depth = next(depth for depth, layer in enumerate(LAYERS) if package in layer)
    return {lower for layer in LAYERS[depth + 1 :] for lower in layer}


def _imports_of_ours(file: Path) -> Iterator[tuple[int, str]]:
    """Line and package of every `import runwasi.X` and `from runwasi.X import ...`, wherever it stands."""
    for line, module in _imports(file):
        parts = module.split(".")
        if parts[0] == "runwasi" and len(parts) > 1 and parts[1] != "__version__":
            yield line, parts[1]


def _imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import, wherever it stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module="runwasi", names=names):
                modules = [f"runwasi.{alias.name}" for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case _:
                continue
        yield from ((node.lineno, module) for module in modules)
