"""Reads the names of a component's imports and exports, without an engine and before it is compiled.

Only the component's own sections are read, not nested ones, and types are skipped: the engine checks whether they
fit. Source: component-model, Binary.md.
"""

from __future__ import annotations

import os

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.wasm_binary import Reader

IMPORT_SECTION, EXPORT_SECTION = 10, 11
_CORE_MODULE, _VALUE, _TYPE = 0, 2, 3  # kinds of an externdesc that have more than an index
_CORE_SORT = 0


class ComponentNames:
    """The names that a component imports and exports; `whole` says that all of them could be read."""

    __slots__ = ("exports", "imports", "whole")

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.exports: list[str] = []
        self.whole = True


class _Unknown(Exception):
    """The component uses a proposal that this reader does not know."""


def read_names(fd: int) -> ComponentNames:
    """Read a component's names from an open file; the compiler refuses a malformed one."""
    names, size, at = ComponentNames(), os.fstat(fd).st_size, 8
    try:
        while at < size:
            reader = Reader(os.pread(fd, 11, at))
            number, length = reader.byte(), reader.number()
            at += reader.at
            if length > size - at:
                names.whole = False  # and no room is made for what it says it has
                break
            if number == IMPORT_SECTION:
                _read_imports(Reader(os.pread(fd, length, at)), names.imports)
            elif number == EXPORT_SECTION:
                _read_exports(Reader(os.pread(fd, length, at)), names.exports)
            at += length
    except (CannotHandle, _Unknown):
        names.whole = False
    return names


def _read_imports(reader: Reader, names: list[str]) -> None:
    for _ in range(reader.number()):
        names.append(_name(reader))
        _skip_description(reader)


def _read_exports(reader: Reader, names: list[str]) -> None:
    for _ in range(reader.number()):
        names.append(_name(reader))
        if reader.byte() == _CORE_SORT:
            reader.byte()
        reader.number()
        if reader.byte():
            _skip_description(reader)


def _name(reader: Reader) -> str:
    if reader.byte() > 1:
        raise _Unknown
    return reader.name()


def _skip_description(reader: Reader) -> None:
    kind = reader.byte()
    if kind == _VALUE:
        raise _Unknown
    if kind == _CORE_MODULE:
        reader.byte()
    if kind == _TYPE and reader.byte():
        return
    reader.number()
