"""Imports modules from one file: an installed program reads the bytecode of all its imports at once.

Finding, checking, opening and reading a module's file takes 40 µs, which for the ninety modules of a command line is
3 ms of a container's 20. The installer packs the modules that each program imports at its start, compiled for the
folder that it is installed in; a module that is not packed comes from that folder, as usual.

A pack has a part for each module that a program imports first, its roots. Even finding a module in memory takes the
interpreter 10 µs; so a part's modules are in an order in which they can be run, and are run one after the other
before the root itself.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery's, without importing that: 1 ms
from _frozen_importlib_external import PathFinder
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.abc import Loader
    from types import CodeType, ModuleType
    from typing import Any, TypeAlias

    Index: TypeAlias = dict[str, tuple[str, int, int, int]]
    """For each module's name: the folder of its submodules or "", the number of its part, and the offset and size of
    its marshalled code in there."""
    Parts: TypeAlias = tuple[tuple[tuple[str, ...], int, int], ...]
    """For each part: the modules, the root last; its offset, counted from the pack's end; and its size."""

else:
    Loader = object  # importlib.abc takes 5 ms, and only adds what other kinds of loaders need

_HEAD = 1 << 15  # bytes to read for the beginning, which lists the parts
_PYC_HEADER = 16  # bytes of magic number, flags and hash: PEP 552

_PRELUDE = """\
import marshal, sys
with open({path!r}, "rb", 0) as file:
    code, *directory = marshal.loads(file.read({head}))
bytecode = sys.modules["runwasi.startup.packs"] = type(sys)("runwasi.startup.packs")
exec(code, bytecode.__dict__)
bytecode.install({path!r}, {site!r}, *directory)
"""


class Importer(Loader):
    """Finds and loads modules from a pack, reading only the parts needed: finder and loader of PEP 451."""

    def __init__(self, path: str, site: str, index: Index, parts: Parts) -> None:
        self.path = path
        self.site = site
        self._index = index
        self._parts = parts
        self._read: dict[int, memoryview] = {}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Find a packed module; None leaves it to the next finder."""
        found = self._index.get(name)
        if found is None:
            return None
        self._have(found[1])
        folder = found[0]
        spec = ModuleSpec(name, self, is_package=bool(folder))
        if folder:
            spec.submodule_search_locations = [f"{self.site}/{folder}"]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Let the interpreter make the module object."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code; for a root, first that of all others in its part."""
        names = self._parts[self._index[module.__name__][1]][0]
        if module.__name__ == names[-1]:
            for name in names:
                if name not in sys.modules:
                    self._import(name)
        self._run(module)

    def _import(self, name: str) -> None:
        """Import a module as importlib does."""
        module = type(sys)(name)
        module.__spec__ = self.find_spec(name)
        module.__loader__ = self
        folder = self._index[name][0]
        if folder:
            module.__path__ = [f"{self.site}/{folder}"]
        parent, _, own = name.rpartition(".")
        if parent not in sys.modules:  # it belongs to another root, which is not imported yet
            self._import(parent)
        module.__package__ = name if folder else parent
        sys.modules[name] = module
        try:
            self._run(module)
        except BaseException:
            del sys.modules[name]
            raise
        setattr(sys.modules[parent], own, module)

    def _run(self, module: ModuleType) -> None:
        _, part, start, size = self._index[module.__name__]
        data = self._read[part]
        exec(loads(data[start : start + size]), module.__dict__)

    def _have(self, part: int) -> None:
        """Load a part into memory. The pack has not changed since the start: processes keep their version."""
        if part in self._read:
            return
        _, from_end, size = self._parts[part]
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:  # keep no descriptor: processes close all open ones
            os.lseek(fd, -from_end, os.SEEK_END)
            self._read[part] = memoryview(os.read(fd, size))  # its slices are not copies
        finally:
            os.close(fd)

    def forget(self) -> None:
        """Free the pack's memory, although the modules from it refer to this importer."""
        self._read.clear()
        self._index = {}


def prelude(path: str, site: str) -> str:
    """Return the Python text that makes a program import from the pack at path; site is the packages' folder."""
    return _PRELUDE.format(path=path, site=site, head=_HEAD)


def install(path: str, site: str, index: Index, parts: Parts) -> None:
    """Import from the pack at path before looking elsewhere. The prelude calls this."""
    sys.meta_path.insert(0, Importer(path, site, index, parts))


def forget() -> None:
    """Free the memory of the pack, if any; from now on, imports come from the modules' own files."""
    for finder in sys.meta_path[:]:
        if isinstance(finder, Importer):
            sys.meta_path.remove(finder)
            finder.forget()


def look_no_further() -> None:
    """Stop this process from looking for modules in files or in the pack; loaded ones still import."""
    sys.meta_path.remove(PathFinder)
    forget()


def prelude_of(name: str) -> str:
    """Return the prelude of the pack of a program that we start; "" if we do not run from one ourselves."""
    for finder in sys.meta_path:
        if isinstance(finder, Importer):
            return prelude(f"{os.path.dirname(finder.path)}/{name}", finder.site)
    return ""


def pack(roots: Iterable[str]) -> bytes:
    """Return a pack: this module's code, and all our modules that importing the roots imports.

    The roots are in the order in which a program imports them: a part lacks the modules of earlier ones. All must be
    compiled, and this interpreter must not have imported any of our modules. Raises ImportError, and ValueError if
    there are more modules than the beginning of a pack can list.
    """
    import marshal  # late: only the installer packs

    index: Index = {}
    parts = []
    for number, names in enumerate(_import_all(roots)):
        code = b""
        for name in names:
            marshalled = marshal.dumps(_code(sys.modules[name]))
            index[name] = _folder(sys.modules[name]), number, len(code), len(marshalled)
            code += marshalled
        parts.append((names, code))
    left = sum(len(code) for _, code in parts)
    places = []
    for names, code in parts:
        places.append((names, left, len(code)))
        left -= len(code)
    head = marshal.dumps((_code(sys.modules[__name__]), index, tuple(places)))
    if len(head) > _HEAD:
        raise ValueError(f"the beginning of the pack has {len(head)} bytes, but only {_HEAD} are read")
    return head + b"".join(code for _, code in parts)


def _import_all(roots: Iterable[str]) -> list[tuple[str, ...]]:
    """Import the roots; return the new modules of each in the order in which they were ready, the root last."""
    import builtins
    import importlib

    order = [__name__]
    parts = []

    def note() -> None:
        for name, module in sys.modules.items():
            if name.partition(".")[0] != "runwasi" or name in order:
                continue
            # a package comes before its modules, although it may import them
            if hasattr(module, "__path__") or not getattr(module.__spec__, "_initializing", False):
                order.append(name)

    def import_and_note(*arguments: Any) -> ModuleType:
        module = plain_import(*arguments)
        note()
        return module

    plain_import = builtins.__import__
    builtins.__import__ = import_and_note  # type: ignore[assignment]  # what import statements call
    try:
        for root in roots:
            known = len(order)
            importlib.import_module(root)
            note()
            parts.append(tuple(order[known:]))
    finally:
        builtins.__import__ = plain_import
    return parts


def _code(module: ModuleType) -> CodeType:
    """Compile a module as its compiled file, without the docstrings, which nothing reads."""
    import ast

    spec = module.__spec__
    assert spec is not None
    assert spec.cached is not None
    assert spec.origin is not None
    with open(spec.cached, "rb") as file:
        compiled: CodeType = loads(file.read()[_PYC_HEADER:])
    with open(spec.origin, "rb") as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.copy_location(ast.Pass(), node.body[0])]
    code: CodeType = compile(tree, compiled.co_filename, "exec", dont_inherit=True)
    return code


def _folder(module: ModuleType) -> str:
    """Return a package's folder below that of all packages; "" for a module."""
    return module.__name__.replace(".", "/") if hasattr(module, "__path__") else ""
