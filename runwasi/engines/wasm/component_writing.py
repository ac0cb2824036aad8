"""Writes a component: the sections of an old one, renumbered after insertions, and new ones.

Source: the component model's design/mvp/Binary.md.
"""

from __future__ import annotations

from runwasi.engines.wasm.component_outline import (
    ALIAS,
    CANON,
    CORE_FUNC,
    CORE_INSTANCE,
    CORE_INSTANCE_SORT,
    CORE_MODULE,
    CORE_MODULE_SORT,
    EXPORT,
    FUNC,
    IMPORT,
    INSTANCE_SORT,
    MEMORY,
    POST_RETURN,
    REALLOC,
    TYPE,
    TYPE_SORT,
)
from runwasi.engines.wasm.wasm_binary import Reader, leb128

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runwasi.engines.wasm.component_outline import Section


def named(name: str) -> bytes:
    """Encode a name."""
    encoded = name.encode()
    return leb128(len(encoded)) + encoded


def vector(parts: Iterable[bytes]) -> bytes:
    """Encode a vector of encoded elements."""
    parts = list(parts)
    return leb128(len(parts)) + b"".join(parts)


def section(number: int, content: bytes) -> bytes:
    """Encode a section."""
    return bytes((number,)) + leb128(len(content)) + content


def core_alias(sort: int, instance: int, name: str) -> bytes:
    """Encode an alias of a core instance's export."""
    return bytes((0x00, sort, 0x01)) + leb128(instance) + named(name)


class Definitions:
    """Definitions to add at one place, one per section; each method returns the new index."""

    def __init__(self, core: Mapping[int, int], spaces: Mapping[int, int]) -> None:
        """`core` and `spaces` are the numbers of earlier definitions of each core sort and each other sort."""
        self.sections: list[bytes] = []
        self._core = dict(core)
        self._spaces = dict(spaces)

    def type(self, definition: bytes) -> int:
        """Add a type."""
        return self._add(self._spaces, TYPE_SORT, TYPE, vector([definition]))

    def alias(self, sort: int, instance: int, name: str) -> int:
        """Add an alias of an instance's export."""
        alias = bytes((sort, 0x00)) + leb128(instance) + named(name)
        return self._add(self._spaces, sort, ALIAS, vector([alias]))

    def import_instance(self, name: str, ty: int) -> int:
        """Import an instance."""
        imported = b"\0" + named(name) + b"\x05" + leb128(ty)
        return self._add(self._spaces, INSTANCE_SORT, IMPORT, vector([imported]))

    def export_function(self, name: str, function: int) -> None:
        """Export a function."""
        exported = b"\0" + named(name) + bytes((FUNC,)) + leb128(function) + b"\0"
        self._add(self._spaces, FUNC, EXPORT, vector([exported]))

    def lift(self, function: int, options: bytes, ty: int) -> int:
        """Add a component function that calls a core function."""
        lifted = b"\0\0" + leb128(function) + options + leb128(ty)
        return self._add(self._spaces, FUNC, CANON, vector([lifted]))

    def lower(self, function: int, options: bytes) -> int:
        """Add a core function that calls a component function."""
        return self.canon(b"\x01\0" + leb128(function) + options)

    def drop(self, ty: int) -> int:
        """Add a core function that drops a resource's handle."""
        return self.canon(b"\x03" + leb128(ty))

    def canon(self, definition: bytes) -> int:
        """Add an encoded core function."""
        return self._add(self._core, CORE_FUNC, CANON, vector([definition]))

    def core_alias(self, sort: int, instance: int, name: str) -> int:
        """Add an alias of a core instance's export."""
        return self._add(self._core, sort, ALIAS, vector([core_alias(sort, instance, name)]))

    def core_module(self, module: bytes) -> int:
        """Add a core module."""
        return self._add(self._core, CORE_MODULE_SORT, CORE_MODULE, module)

    def instantiate(self, module: int, arguments: Mapping[str, int]) -> int:
        """Add an instance of a core module."""
        given = vector(named(name) + b"\x12" + leb128(index) for name, index in arguments.items())
        return self._add_core_instance(b"\0" + leb128(module) + given)

    def bundle(self, sort: int, exports: Mapping[str, int]) -> int:
        """Add a core instance that names definitions of a sort."""
        given = vector(named(name) + bytes((sort,)) + leb128(index) for name, index in exports.items())
        return self._add_core_instance(b"\x01" + given)

    def _add_core_instance(self, definition: bytes) -> int:
        return self._add(self._core, CORE_INSTANCE_SORT, CORE_INSTANCE, vector([definition]))

    def _add(self, space: dict[int, int], sort: int, number: int, content: bytes) -> int:
        self.sections.append(section(number, content))
        index = space.get(sort, 0)
        space[sort] = index + 1
        return index


class Insertion:
    """An insertion of core definitions, which shifts the numbers of later ones."""

    def __init__(self, first: Mapping[int, int], counts: Mapping[int, int]) -> None:
        """`first` is the number of the first inserted one, `counts` how many there are, by core sort."""
        self._first = first
        self._counts = counts

    def moved(self, sort: int, index: int) -> int:
        """Return the new number of a definition of a core sort."""
        return index + self._counts.get(sort, 0) if index >= self._first.get(sort, 0) else index

    def renumbered(self, old: Section) -> bytes:
        """Encode a section that follows the insertion."""
        renumber = {CORE_INSTANCE: self._core_instance, ALIAS: self._alias, CANON: self._canon}.get(
            old.number
        )
        if renumber is None:
            return section(old.number, old.content)
        return section(old.number, vector(renumber(Reader(part)) for part in old.parts))

    def _core_instance(self, reader: Reader) -> bytes:
        kind = reader.byte()
        module = leb128(self.moved(CORE_MODULE_SORT, reader.number())) if kind == 0x00 else b""
        named_ones = []
        for _ in range(reader.count()):
            name, sort, index = reader.name(), reader.byte(), reader.number()
            named_ones.append(named(name) + bytes((sort,)) + leb128(self.moved(sort, index)))
        return bytes((kind,)) + module + vector(named_ones)

    def _alias(self, reader: Reader) -> bytes:
        if reader.byte() != 0x00:
            return reader.data
        sort, target = reader.byte(), reader.byte()
        if target != 0x01:
            return reader.data
        return core_alias(sort, self.moved(CORE_INSTANCE_SORT, reader.number()), reader.name())

    def _canon(self, reader: Reader) -> bytes:
        kind = reader.byte()
        if kind not in (0x00, 0x01):
            return reader.data
        start, function = reader.take(1), reader.number()
        function = self.moved(CORE_FUNC, function) if kind == 0x00 else function
        options = vector(self._option(reader) for _ in range(reader.count()))
        return bytes((kind,)) + start + leb128(function) + options + reader.data[reader.at :]

    def _option(self, reader: Reader) -> bytes:
        option = reader.byte()
        if option in (REALLOC, POST_RETURN):
            return bytes((option,)) + leb128(self.moved(CORE_FUNC, reader.number()))
        return bytes((option,)) + (leb128(reader.number()) if option == MEMORY else b"")
