"""Reads a core module's imports and exports, without an engine.

This makes a refusal precise, equal for all engines, and possible before anything is compiled. Only section
headers and the small sections are read, so a module's size does not matter.
Source: WebAssembly core specification 3.0, chapter "Binary Format".
"""

from __future__ import annotations

import os

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.sniff import CORE, WASM_MAGIC, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TYPE_SECTION, IMPORT_SECTION, FUNCTION_SECTION, MEMORY_SECTION, EXPORT_SECTION = 1, 2, 3, 5, 7
LAST_SECTION = 13  # tags; custom sections are 0
KINDS = ("function", "table", "memory", "global", "tag")
FUNCTION_FORM = 0x60
ADDRESSES_OF_64_BITS = 4  # a flag of limits

MAX_SECTION = 64 << 20
"""The largest type, import or export section that is read, in bytes; real ones have a few MiB at most."""


class Import:
    """An import of a module."""

    __slots__ = ("kind", "module", "name")

    def __init__(self, module: str, name: str, kind: str) -> None:
        self.module = module
        self.name = name
        self.kind = kind


class Signature:
    """An exported function: its index, its type's index, and the numbers of parameters and results."""

    __slots__ = ("index", "parameters", "results", "type_index")

    def __init__(self, index: int, type_index: int, parameters: int, results: int) -> None:
        self.index = index
        self.type_index = type_index
        self.parameters = parameters
        self.results = results


class ModuleInterface:
    """A module's imports in order, its exports' kinds by name, and its exported functions' signatures."""

    __slots__ = ("_function_indices", "_imported_types", "_sections", "exports", "imports")

    def __init__(self, sections: dict[int, Reader]) -> None:
        self._sections = sections
        self.imports, self._imported_types = _imports(sections.get(IMPORT_SECTION))
        self.exports: dict[str, str] = {}
        self._function_indices: dict[str, int] = {}
        if reader := sections.get(EXPORT_SECTION):
            for _ in range(reader.number()):
                name, kind, index = reader.name(), reader.byte(), reader.number()
                self.exports[name] = _kind(kind)
                if kind == 0:
                    self._function_indices[name] = index

    def has_long_memory(self) -> bool:
        """Return whether one of its own memories has 64-bit addresses."""
        section = self._sections.get(MEMORY_SECTION)
        reader = Reader(section.data if section else b"\0")
        return any(reader.limits() & ADDRESSES_OF_64_BITS for _ in range(reader.number()))

    def count_functions(self) -> int:
        """Return the number of its functions, including imported ones."""
        return len(self._function_types())

    def signature(self, function: str) -> Signature | None:
        """Return an exported function's signature; None if its type belongs to an unsupported proposal."""
        index = self._function_indices[function]
        types = self._function_types()
        reader = self._sections.get(TYPE_SECTION)
        known = _signatures(Reader(reader.data) if reader else None)
        if index >= len(types) or types[index] >= len(known):
            return None
        return Signature(index, types[index], *known[types[index]])

    def _function_types(self) -> list[int]:
        reader = self._sections.get(FUNCTION_SECTION)
        if reader is None:
            return self._imported_types
        reader.at = 0
        return [*self._imported_types, *(reader.number() for _ in range(reader.number()))]


def read_interface(fd: int) -> ModuleInterface:
    """Read a core module's interface from an open file. Raises CannotHandle if it is not a complete module."""
    return ModuleInterface(_sections(lambda size, at: os.pread(fd, size, at), os.fstat(fd).st_size))


def interface_of(module: bytes) -> ModuleInterface:
    """Read the interface of a core module in memory. Raises CannotHandle if it is not a complete module."""
    return ModuleInterface(_sections(lambda size, at: module[at : at + size], len(module)))


def check_whole(module: bytes) -> None:
    """Refuse a core module that is cut short or of another version, with a clearer message than compilers'.

    Raises CannotHandle.
    """
    _sections(lambda size, at: module[at : at + size], len(module))


def leb128(number: int, *, signed: bool = False) -> bytes:
    """Encode a non-negative number as unsigned or signed LEB128; signed, the last byte's upper bit is a sign."""
    last = 0x3F if signed else 0x7F
    encoded = bytearray()
    while number > last:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class Reader:
    """Reads values from bytes; raises CannotHandle if the bytes end too early."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """Read a byte."""
        if self.at >= len(self.data):
            raise CannotHandle("the module is malformed: a section ends too early")
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """Read an unsigned LEB128 number of at most 64 bits; most have one byte."""
        byte = self.byte()
        if byte < 0x80:
            return byte
        value, shift = byte & 0x7F, 7
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise CannotHandle("the module is malformed: a number is longer than ten bytes")

    def name(self) -> str:
        """Read a name; its bytes may be invalid UTF-8."""
        return self.take(self.number()).decode(errors="replace")

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        if size > len(self.data) - self.at:
            raise CannotHandle("the module is malformed: a name is longer than its section")
        self.at += size
        return self.data[self.at - size : self.at]

    def count(self) -> int:
        """Read a vector's length; each element takes at least a byte."""
        count = self.number()
        if count > len(self.data) - self.at:
            raise CannotHandle("the module is malformed: a vector is longer than its section")
        return count

    def value_type(self) -> None:
        """Skip a value type."""
        if self.byte() in (0x63, 0x64):  # (ref null? heap type), a signed LEB128
            self.number()

    def limits(self) -> int:
        """Skip the limits of a table or memory, and return their flags."""
        flags = self.byte()
        self.number()
        if flags & 1:
            self.number()
        if flags & 8:  # custom page size
            self.number()
        return flags


def _sections(read: Callable[[int, int], bytes], size: int) -> dict[int, Reader]:
    """Return the sections that matter, after checking that sections make up the whole file.

    `read` returns that many bytes at an offset, or fewer at the end.
    """
    header = read(8, 0)
    if not header.startswith(WASM_MAGIC[: len(header)]):
        raise CannotHandle(f"it is not a WebAssembly module ({describe(header)})")
    if len(header) < 8:
        raise CannotHandle(f"the module is truncated: it has {len(header)} bytes, its header alone needs 8")
    if header[4:] != CORE:
        version = int.from_bytes(header[4:8], "little")
        raise CannotHandle(f"the module has version {version:#x}; only version 1 exists")
    found: dict[int, Reader] = {}
    at = 8
    while at < size:
        reader = Reader(read(11, at))
        number, length = reader.byte(), reader.number()
        at += reader.at
        if number > LAST_SECTION:
            raise CannotHandle(f"the module is malformed: section {number} at offset {at} is unknown")
        if length > size - at:
            missing = length - (size - at)
            raise CannotHandle(f"the module is truncated: {missing} bytes are missing at its end ({size})")
        if (
            number in (TYPE_SECTION, IMPORT_SECTION, FUNCTION_SECTION, MEMORY_SECTION, EXPORT_SECTION)
            and length <= MAX_SECTION
        ):
            found[number] = Reader(read(length, at))
        at += length
    return found


def _imports(reader: Reader | None) -> tuple[tuple[Import, ...], list[int]]:
    """Return the imports, and the type indices of the imported functions."""
    imports: list[Import] = []
    function_types: list[int] = []
    for _ in range(reader.number() if reader else 0):
        assert reader
        module, name, kind = reader.name(), reader.name(), reader.byte()
        imports.append(Import(module, name, _kind(kind)))
        if kind == 0:
            function_types.append(reader.number())
        elif kind == 1:
            reader.value_type()
            reader.limits()
        elif kind == 2:
            reader.limits()
        elif kind == 3:
            reader.value_type()
            reader.byte()
        else:
            reader.byte()
            reader.number()
    return tuple(imports), function_types


def _signatures(reader: Reader | None) -> list[tuple[int, int]]:
    """Return the numbers of parameters and results of each type, up to the first that is not a plain function."""
    counts: list[tuple[int, int]] = []
    for _ in range(reader.number() if reader else 0):
        assert reader
        if reader.byte() != FUNCTION_FORM:
            break
        parameters = reader.number()
        for _ in range(parameters):
            reader.value_type()
        results = reader.number()
        for _ in range(results):
            reader.value_type()
        counts.append((parameters, results))
    return counts


def _kind(number: int) -> str:
    if number >= len(KINDS):
        raise CannotHandle(f"the module is malformed: {number} is not a kind of import or export")
    return KINDS[number]
