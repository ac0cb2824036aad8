"""Reads the package's layers and imports from the sources, for the test and for the picture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from devtools.places import ROOT

PACKAGE = ROOT / "runwasi"

LAYERS = (
    ("cli", "shim"),
    ("executor", "images", "containerd", "deployment"),
    ("engines", "wasi", "oci"),
    ("linux", "wire", "startup", "node"),
)
"""From the top: a package imports only from the rows below its own."""

NEIGHBOURS = {"cli": {"shim"}, "engines": {"wasi"}, "wasi": {"engines"}, "linux": {"startup"}}
"""Packages of one's own row that may be used all the same."""


def allowed(package: str) -> set[str]:
    """Return what a package may import from."""
    depth = next(depth for depth, row in enumerate(LAYERS) if package in row)
    below = {lower for row in LAYERS[depth + 1 :] for lower in row}
    return {package, *below, *NEIGHBOURS.get(package, ())}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import in a file, wherever it stands."""
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


def package_imports(package: str) -> Iterator[tuple[Path, int, str]]:
    """Yield file, line and imported package of every import of ours in a package."""
    for file in sorted((PACKAGE / package).rglob("*.py")):
        for line, module in imports(file):
            parts = module.split(".")
            if parts[0] == "runwasi" and len(parts) > 1 and parts[1] != "__version__":
                yield file, line, parts[1]


def uses() -> set[tuple[str, str]]:
    """Return each pair of packages of which the first imports from the second."""
    return {
        (package, imported)
        for row in LAYERS
        for package in row
        for _, _, imported in package_imports(package)
        if imported != package
    }


def modules() -> dict[str, Path]:
    """Return the files of the package by their modules' names."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(("runwasi", *file.relative_to(PACKAGE).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = file
    return found


def cycles() -> list[list[str]]:
    """Return every set of files that import each other in a circle, imports for type checkers included."""
    files = modules()
    graph = {
        name: {_target(module, files) for module in _all_of(file)} - {name, ""}
        for name, file in files.items()
    }
    return [sorted(group) for group in _strongly_connected(graph) if len(group) > 1]


def _all_of(file: Path) -> Iterator[str]:
    """Yield a file's imported modules, `from package import module` as the module."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)


def _target(module: str, files: dict[str, Path]) -> str:
    """Return the file that a dotted name is in: itself, or what holds it; "" for one that is not ours."""
    if module in files:
        return module
    holder = module.rpartition(".")[0]
    return holder if holder in files else ""


def _strongly_connected(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components. Source: Tarjan 1972."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            groups.append(group)

    for name in graph:
        if name not in index:
            visit(name)
    return groups
