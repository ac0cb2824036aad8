"""Reads and extends the shim: the module that wit-component puts between a guest and its host functions.

A guest's imports must exist before the guest, but functions that use its memory only after it. So the guest gets
the functions "0", "1" … of this module, each of which calls the function in its slot of the table "$imports", and
another module fills that table once everything exists.
"""

from __future__ import annotations

from runwasi.engines.wasm.component_outline import NotUnderstood
from runwasi.engines.wasm.wasm_binary import FUNCTION_FORM, Reader, leb128

_VALUES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"}
_TYPES, _FUNCTIONS, _TABLES, _EXPORTS, _CODE = 1, 3, 4, 7, 10

IMPORTS_TABLE, MORE_TABLE, MEMORY = "$imports", "$more", "memory"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Signature = tuple[tuple[str, ...], tuple[str, ...]]
"""A core function's parameters and results."""


class Shim:
    """A shim module: the signatures of its slots. Raises NotUnderstood for any other module."""

    def __init__(self, module: bytes) -> None:
        sections = _sections(module)
        types = _signatures(sections[_TYPES])
        numbers = [sections[_FUNCTIONS].number() for _ in range(sections[_FUNCTIONS].count())]
        self.slots: list[Signature] = [types[number] for number in numbers]
        expected = {str(slot): (0, slot) for slot in range(len(numbers))} | {IMPORTS_TABLE: (1, 0)}
        if _exports(sections[_EXPORTS]) != expected:
            raise NotUnderstood("its shim has unknown exports")
        code = sections[_CODE]
        for slot in range(code.count()):
            size = code.number()
            if code.take(size) != _call_of_slot(slot, len(self.slots[slot][0]), numbers[slot]):
                raise NotUnderstood("its shim has unknown code")

    def names(self) -> set[str]:
        """Return the names of its exports."""
        return {IMPORTS_TABLE, *map(str, range(len(self.slots)))}

    def text(self, more: Sequence[Signature]) -> str:
        """Return the text of such a module with a second table and its functions, and a memory for the inset.

        The first table keeps its size, which the module that fills it expects.
        """
        functions = [
            *(_function(str(slot), slot, "$imports", each) for slot, each in enumerate(self.slots)),
            *(_function(more_name(slot), slot, "$more", each) for slot, each in enumerate(more)),
        ]
        size, more_size = len(self.slots), len(more)
        return "\n".join(
            (
                "(module",
                f'(table $imports (export "{IMPORTS_TABLE}") {size} {size} funcref)',
                f'(table $more (export "{MORE_TABLE}") {more_size} {more_size} funcref)',
                f'(memory (export "{MEMORY}") 1)',
                *functions,
                ")",
            )
        )


def more_name(slot: int) -> str:
    """Return the name of the function that calls the one in a slot of the second table."""
    return f"more-{slot}"


def _function(name: str, slot: int, table: str, signature: Signature) -> str:
    params, results = signature
    arguments = " ".join(f"(local.get {number})" for number in range(len(params)))
    ty = f"(param {' '.join(params)}) (result {' '.join(results)})"
    call = f"(call_indirect {table} {ty} {arguments} (i32.const {slot}))"
    return f'(func (export "{name}") {ty} {call})'


def _sections(module: bytes) -> dict[int, Reader]:
    found: dict[int, Reader] = {}
    reader = Reader(module)
    reader.take(8)
    while reader.at < len(module):
        number, size = reader.byte(), reader.number()
        found[number] = Reader(reader.take(size))
    if set(found) - {0} != {_TYPES, _FUNCTIONS, _TABLES, _EXPORTS, _CODE}:
        raise NotUnderstood("its shim has unknown sections")
    return found


def _signatures(reader: Reader) -> list[Signature]:
    signatures = []
    for _ in range(reader.count()):
        if reader.byte() != FUNCTION_FORM:
            raise NotUnderstood("its shim has other types")
        signatures.append((_values(reader), _values(reader)))
    return signatures


def _values(reader: Reader) -> tuple[str, ...]:
    numbers = reader.take(reader.count())
    if not set(numbers) <= set(_VALUES):
        raise NotUnderstood("its shim has other types")
    return tuple(_VALUES[number] for number in numbers)


def _exports(reader: Reader) -> dict[str, tuple[int, int]]:
    return {reader.name(): (reader.byte(), reader.number()) for _ in range(reader.count())}


def _call_of_slot(slot: int, params: int, number: int) -> bytes:
    """Encode a body: no locals, local.get of each parameter, i32.const slot, call_indirect in table 0, end."""
    gets = b"".join(b"\x20" + leb128(param) for param in range(params))
    return b"\0" + gets + b"\x41" + leb128(slot, signed=True) + b"\x11" + leb128(number) + b"\0\x0b"
