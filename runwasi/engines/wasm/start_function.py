"""Rewrites core modules for engines that can only call `_start`."""

from __future__ import annotations

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.wasm_binary import EXPORT_SECTION, FUNCTION_SECTION, Reader, interface_of, leb128

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runwasi.engines.wasm.wasm_binary import ModuleInterface

CODE_SECTION = 10
_CALL, _DROP, _END = b"\x10", b"\x1a", b"\x0b"
_REPLACED = ("_start", "_initialize")


def with_start(module: bytes, functions: Sequence[str]) -> bytes:
    """Return a valid core module with a `_start` that calls these exported functions without arguments, in order.

    It no longer exports the old `_start` and `_initialize`. Raises CannotHandle.
    """
    if len(functions) == 1:
        return _rewritten(module, {EXPORT_SECTION: lambda old: _exports(old, renamed=functions[0])})
    interface = interface_of(module)
    body = b"\0" + b"".join(_call(interface, function) for function in functions) + _END
    new_type = leb128(_plain_type(interface, functions[0]))
    new = b"\x06_start\0" + leb128(interface.count_functions())
    return _rewritten(
        module,
        {
            FUNCTION_SECTION: lambda old: _extended(old, new_type),
            EXPORT_SECTION: lambda old: _exports(old, added=new),
            CODE_SECTION: lambda old: _extended(old, leb128(len(body)) + body),
        },
    )


def _call(interface: ModuleInterface, function: str) -> bytes:
    signature = interface.signature(function)
    if signature is None:
        raise CannotHandle(f"the type of its function {function} belongs to a proposal that is not supported")
    return _CALL + leb128(signature.index) + _DROP * signature.results


def _plain_type(interface: ModuleInterface, function: str) -> int:
    """Return the type number of a function that takes and returns nothing."""
    signature = interface.signature(function)
    if signature is None or signature.parameters or signature.results:
        raise CannotHandle(f"its function {function} has parameters or results; it must have none")
    return signature.type_index


def _rewritten(module: bytes, changes: Mapping[int, Callable[[bytes], bytes]]) -> bytes:
    at, parts = 8, [module[:8]]
    while at < len(module):
        reader = Reader(module[at : at + 11])
        number, length = reader.byte(), reader.number()
        content = at + reader.at
        if number in changes:
            section = changes[number](module[content : content + length])
            parts.append(bytes((number,)) + leb128(len(section)) + section)
        else:
            parts.append(module[at : content + length])
        at = content + length
    return b"".join(parts)


def _exports(section: bytes, renamed: str = "", added: bytes = b"") -> bytes:
    """Return an export section with one entry renamed to `_start`, or with one more."""
    reader, entries = Reader(section), [added] if added else []
    for _ in range(reader.number()):
        start, name = reader.at, reader.name()
        kind_and_index = reader.at
        reader.byte()
        reader.number()
        if name == renamed:
            entries.append(b"\x06_start" + section[kind_and_index : reader.at])
        elif name not in _REPLACED:
            entries.append(section[start : reader.at])
    return leb128(len(entries)) + b"".join(entries)


def _extended(section: bytes, entry: bytes) -> bytes:
    """Return a section, which is a vector, with one more entry."""
    reader = Reader(section)
    return leb128(reader.number() + 1) + section[reader.at :] + entry
