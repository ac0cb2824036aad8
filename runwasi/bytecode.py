"""Modules from one file: an installed program reads the bytecode of all it imports at once.

To find, check, open and read a module's own file costs 40 µs, which for the ninety of a command line is 3 ms of
the 20 that a container takes. The installer packs what each program imports at its start, as compiled for the
folder it is installed in; what is not packed comes from that folder, as ever.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery's, without importing that
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import TypeAlias

    Index: TypeAlias = dict[str, tuple[str, int, int]]
    """By a module's name the folder of its submodules, "" for a module without, and where its marshalled code
    begins and how long it is, counted from the pack's end."""

_PYC_HEADER = 16  # bytes of magic number, flags and hash: PEP 552

_PRELUDE = """\
import marshal, sys
with open({path!r}, "rb", 0) as file:
    pack = file.read()
code, index = marshal.loads(pack)
bytecode = sys.modules["runwasi.bytecode"] = type(sys)("runwasi.bytecode")
exec(code, bytecode.__dict__)
bytecode.install({path!r}, pack, index)
del pack
"""


class Importer:
    """Finds and loads modules whose bytecode is in memory: a meta path finder and loader of importlib."""

    def __init__(self, path: str, pack: bytes, index: Index) -> None:
        self.path = path
        self._pack = memoryview(pack)  # slices of it are no copies
        self._index = index

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Find one of ours; None leaves it to the next finder."""
        found = self._index.get(name)
        if found is None:
            return None
        folder = found[0]
        spec = ModuleSpec(name, self, is_package=bool(folder))  # type: ignore[arg-type]  # it has what counts
        if folder:
            spec.submodule_search_locations = [folder]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Have the interpreter make the module object."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code."""
        _, start, size = self._index[module.__name__]
        exec(loads(self._pack[len(self._pack) - start :][:size]), module.__dict__)

    def forget(self) -> None:
        """Free the pack's memory, though the modules that came from it refer to us."""
        self._pack = memoryview(b"")
        self._index = {}


def prelude(path: str) -> str:
    """Return the Python text that has a program import from the pack at path."""
    return _PRELUDE.format(path=path)


def install(path: str, pack: bytes, index: Index) -> None:
    """Import from the pack that was read from path before looking elsewhere. The prelude calls it."""
    sys.meta_path.insert(0, Importer(path, pack, index))


def forget() -> None:
    """Free the memory of the pack, if there is one; imports come from the modules' own files from now on."""
    for finder in sys.meta_path[:]:
        if isinstance(finder, Importer):
            sys.meta_path.remove(finder)
            finder.forget()


def prelude_of(name: str) -> str:
    """Return the prelude of the pack of a program that we start; "" when we do not run from one ourselves."""
    for finder in sys.meta_path:
        if isinstance(finder, Importer):
            return prelude(f"{os.path.dirname(finder.path)}/{name}")
    return ""


def pack(roots: Iterable[str]) -> bytes:
    """Return a pack: this module's code, and every module of ours that importing the roots imports.

    All must have been compiled, and this interpreter must have imported nothing of ours before.
    """
    import importlib  # late: only the installer packs
    import marshal

    for root in roots:
        importlib.import_module(root)
    found: dict[str, tuple[str, bytes]] = {}
    for name, module in sys.modules.items():
        spec = module.__spec__
        if name.partition(".")[0] == "runwasi" and spec is not None and spec.cached is not None:
            with open(spec.cached, "rb") as file:
                code = file.read()[_PYC_HEADER:]
            is_package = spec.submodule_search_locations is not None
            found[name] = (loads(code).co_filename.rpartition("/")[0] if is_package else ""), code
    _, own = found.pop("runwasi.bytecode")
    start = sum(len(code) for _, code in found.values())
    index: Index = {}
    for name, (folder, code) in found.items():
        index[name] = folder, start, len(code)
        start -= len(code)
    return marshal.dumps((loads(own), index)) + b"".join(code for _, code in found.values())
