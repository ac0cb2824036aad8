"""Modules from one file: an installed program reads the bytecode of all it imports at once.

To find, check, open and read a module's own file costs 40 µs, which for the ninety of a command line is 3 ms of
the 20 that a container takes. The installer packs what each program imports at its start, as compiled for the
folder it is installed in; what is not packed comes from that folder, as ever.

Even to find a module in memory takes the interpreter 10 µs. So the pack also says which modules each of its roots
imports, in the order in which they can be run: they are, one after the other, before the root itself is.
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
    from typing import Any, TypeAlias

    Index: TypeAlias = dict[str, tuple[str, int, int]]
    """By a module's name the folder of its submodules, "" for a module without, and where its marshalled code
    begins and how long it is, counted from the pack's end."""
    Needs: TypeAlias = dict[str, tuple[str, ...]]
    """By a root's name the modules that it imports, themselves and by others, each after those it imports."""

_PYC_HEADER = 16  # bytes of magic number, flags and hash: PEP 552

_PRELUDE = """\
import marshal, sys
with open({path!r}, "rb", 0) as file:
    pack = file.read()
code, *directory = marshal.loads(pack)
bytecode = sys.modules["runwasi.bytecode"] = type(sys)("runwasi.bytecode")
exec(code, bytecode.__dict__)
bytecode.install({path!r}, pack, *directory)
del pack
"""


class Importer:
    """Finds and loads modules whose bytecode is in memory: a meta path finder and loader of importlib."""

    def __init__(self, path: str, pack: bytes, index: Index, needs: Needs) -> None:
        self.path = path
        self._pack = memoryview(pack)  # slices of it are no copies
        self._index = index
        self._needs = needs

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
        """Run a module's code, after that of all it needs."""
        for name in self._needs.get(module.__name__, ()):
            if name not in sys.modules:
                self._import(name)
        self._run(module)

    def _import(self, name: str) -> None:
        """Import a module as importlib does."""
        module = type(sys)(name)
        module.__spec__ = self.find_spec(name)
        module.__loader__ = self  # type: ignore[assignment]  # as above
        folder = self._index[name][0]
        if folder:
            module.__path__ = [folder]
        parent, _, own = name.rpartition(".")
        module.__package__ = name if folder else parent
        sys.modules[name] = module
        try:
            self._run(module)
        except BaseException:
            del sys.modules[name]
            raise
        setattr(sys.modules[parent], own, module)

    def _run(self, module: ModuleType) -> None:
        _, start, size = self._index[module.__name__]
        exec(loads(self._pack[len(self._pack) - start :][:size]), module.__dict__)

    def forget(self) -> None:
        """Free the pack's memory, though the modules that came from it refer to us."""
        self._pack = memoryview(b"")
        self._index = {}


def prelude(path: str) -> str:
    """Return the Python text that has a program import from the pack at path."""
    return _PRELUDE.format(path=path)


def install(path: str, pack: bytes, index: Index, needs: Needs) -> None:
    """Import from the pack that was read from path before looking elsewhere. The prelude calls it."""
    sys.meta_path.insert(0, Importer(path, pack, index, needs))


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

    The roots are in the order in which a program imports them: what one needs is what those before it did not. All
    must have been compiled, and this interpreter must have imported nothing of ours before.
    """
    import marshal  # late: only the installer packs

    needs, order = _import_all(roots)
    code = {name: _code(sys.modules[name]) for name in order[1:]}
    start = sum(map(len, code.values()))
    index: Index = {}
    for name, marshalled in code.items():
        is_package = hasattr(sys.modules[name], "__path__")
        folder = loads(marshalled).co_filename.rpartition("/")[0] if is_package else ""
        index[name] = folder, start, len(marshalled)
        start -= len(marshalled)
    own = loads(_code(sys.modules[__name__]))
    return marshal.dumps((own, index, needs)) + b"".join(code.values())


def _import_all(roots: Iterable[str]) -> tuple[Needs, list[str]]:
    """Import the roots; returns what each needs, and all modules of ours in the order in which they were ready."""
    import builtins
    import importlib

    order = [__name__]

    def note() -> None:
        for name, module in sys.modules.items():
            if name.partition(".")[0] != "runwasi" or name in order:
                continue
            # a package comes before its modules, though it may import them
            if hasattr(module, "__path__") or not getattr(module.__spec__, "_initializing", False):
                order.append(name)

    def import_and_note(*arguments: Any) -> ModuleType:
        module = plain_import(*arguments)
        note()
        return module

    plain_import = builtins.__import__
    builtins.__import__ = import_and_note  # type: ignore[assignment]  # what import statements call
    try:
        needs: Needs = {}
        for root in roots:
            known = len(order)
            importlib.import_module(root)
            note()
            needs[root] = tuple(name for name in order[known:] if name != root)
    finally:
        builtins.__import__ = plain_import
    return needs, order


def _code(module: ModuleType) -> bytes:
    """Return the marshalled code of a module that was imported from a compiled file."""
    assert module.__spec__ is not None
    assert module.__spec__.cached is not None
    with open(module.__spec__.cached, "rb") as file:
        return file.read()[_PYC_HEADER:]
