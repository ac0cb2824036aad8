"""Lays values out as the component model's canonical ABI does, wrong ones too. Source: CanonicalABI.md.

A value is an int; bytes for a string or list<u8>; a list; a tuple for a record or tuple; (case, payload) for what has
cases; a Handle; or Wild, the words of a string or list as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from devtools.components.build import wasm_tools

FEATURES = ("--features", "network-error-code")
_SIZES = {"bool": 1, "u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "char": 4, "u64": 8, "s64": 8}


class Handle(NamedTuple):
    """A handle that the guest has when the call is made: WebAssembly text that gives it, and what is done first."""

    text: str
    before: str = ""


class Wild(NamedTuple):
    """A pointer, and how many follow."""

    pointer: int
    size: int


class Type(NamedTuple):
    """A type: what it is, the types of its parts, and a resource's name.

    kind   a primitive's name, string, list, fields (record, tuple), cases (variant, enum, option, result), flags,
           own or borrow
    parts  None for a case without payload; for flags one for each flag
    """

    kind: str
    parts: tuple[Any, ...] = ()
    resource: str = ""


class Function(NamedTuple):
    """A function that a world imports, by its module and name."""

    module: str
    name: str
    params: tuple[Type, ...]
    result: Type | None


def imported_functions(wit: Path, world: str) -> tuple[list[Function], dict[str, str]]:
    """Return the functions that a world imports, and the module that each resource is from."""
    document = json.loads(wasm_tools("component", "wit", "--json", *FEATURES, wit))
    chosen = next(each for each in document["worlds"] if each["name"] == world)
    interfaces = [each["interface"]["id"] for each in chosen["imports"].values() if "interface" in each]
    functions: list[Function] = []
    resources: dict[str, str] = {}
    for index in interfaces:
        interface = document["interfaces"][index]
        package, _, version = document["packages"][interface["package"]]["name"].partition("@")
        module = f"{package}/{interface['name']}@{version}"
        for name, number in interface["types"].items():
            if document["types"][number]["kind"] == "resource":
                resources[name] = module
        for each in interface["functions"].values():
            params = tuple(_type(document, param["type"]) for param in each["params"])
            result = _type(document, each["result"]) if each.get("result") is not None else None
            functions.append(Function(module, each["name"], params, result))
    return functions, resources


def _type(document: Any, given: Any) -> Type:
    if isinstance(given, str):
        return Type(given)
    entry = document["types"][given]
    kind = entry["kind"]
    if kind == "resource":
        return Type("own", resource=entry["name"])
    ((what, about),) = kind.items()
    if what == "type":
        return _type(document, about)
    if what == "handle":
        ((how, number),) = about.items()
        return Type(how, resource=_type(document, number).resource)
    if what in ("list", "option"):
        part = _type(document, about)
        return Type("list", (part,)) if what == "list" else Type("cases", (None, part))
    if what == "result":
        return Type("cases", tuple(_optional(document, about[side]) for side in ("ok", "err")))
    if what == "variant":
        return Type("cases", tuple(_optional(document, case["type"]) for case in about["cases"]))
    if what == "enum":
        return Type("cases", (None,) * len(about["cases"]))
    if what == "flags":
        return Type("flags", (None,) * len(about["flags"]))
    given_parts = [field["type"] for field in about["fields"]] if what == "record" else about["types"]
    return Type("fields", tuple(_type(document, part) for part in given_parts))


def _optional(document: Any, given: Any) -> Type | None:
    return None if given is None else _type(document, given)


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align


def _discriminant(ty: Type) -> int:
    assert len(ty.parts) <= 256
    return 1


def size_of(ty: Type | None) -> tuple[int, int]:
    """Return a type's size and alignment in memory."""
    if ty is None:
        return 0, 1
    if ty.kind in _SIZES:
        return (_SIZES[ty.kind],) * 2
    if ty.kind in ("string", "list"):
        return 8, 4
    if ty.kind in ("own", "borrow"):
        return 4, 4
    if ty.kind == "flags":
        return (1 if len(ty.parts) <= 8 else 2 if len(ty.parts) <= 16 else 4,) * 2
    sizes = [size_of(part) for part in ty.parts]
    align = max([1, *(each[1] for each in sizes)])
    if ty.kind == "cases":
        start = _aligned(_discriminant(ty), align)
        return _aligned(start + max([0, *(each[0] for each in sizes)]), align), align
    end = 0
    for size, alignment in sizes:
        end = _aligned(end, alignment) + size
    return _aligned(end, align), align


def flat_types(ty: Type | None) -> list[str]:
    """Return the core types that a value is passed as."""
    if ty is None:
        return []
    if ty.kind in ("u64", "s64"):
        return ["i64"]
    if ty.kind in ("string", "list"):
        return ["i32", "i32"]
    if ty.kind == "fields":
        return [core for part in ty.parts for core in flat_types(part)]
    if ty.kind == "cases":
        joined: list[str] = []
        for part in ty.parts:
            for index, core in enumerate(flat_types(part)):
                if index == len(joined):
                    joined.append(core)
                elif joined[index] != core:
                    joined[index] = "i64"
        return ["i32", *joined]
    return ["i32"]


class Image:
    """The guest's memory as the calls find it, and the handles to be stored before a call."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._data = bytearray()
        self._known: dict[bytes, int] = {}
        self._lists: dict[int, tuple[Any, int]] = {}
        self.stores: list[str] = []
        self.before: list[str] = []

    def data(self) -> bytes:
        """Return its content."""
        return bytes(self._data)

    def end(self) -> int:
        """Return the address behind it."""
        return self._start + len(self._data)

    def flat(self, ty: Type, value: Any) -> list[str]:
        """Return the core values of a value, as WebAssembly text."""
        cores = flat_types(ty)
        if isinstance(value, Handle):
            self.before.append(value.before)
            return [value.text]
        if ty.kind in ("string", "list"):
            pointer, count = self._placed(ty, value)
            return [_const("i32", pointer), _const("i32", count)]
        if ty.kind == "fields":
            return [
                text for part, each in zip(ty.parts, value, strict=True) for text in self.flat(part, each)
            ]
        if ty.kind == "cases":
            case, payload = value
            part = ty.parts[case] if case < len(ty.parts) else None
            texts = [] if part is None else self.flat(part, payload)
            given = flat_types(part)
            out = [_const("i32", case)]
            for index, core in enumerate(cores[1:]):
                text = texts[index] if index < len(texts) else _const(core, 0)
                widened = index < len(given) and given[index] != core
                out.append(f"(i64.extend_i32_u {text})" if widened else text)
            return out
        return [_const(cores[0], value)]

    def _placed(self, ty: Type, value: Any) -> tuple[int, int]:
        """Return where a string or list is, and its count."""
        if isinstance(value, Wild):
            return value.pointer, value.size
        if isinstance(value, bytes):
            address = self._known.get(value)
            if address is None:
                address = self._known[value] = self._room(len(value), 1)
                self._write(address, value)
            return address, len(value)
        if id(value) in self._lists:
            return self._lists[id(value)][1], len(value)
        (part,) = ty.parts
        size, align = size_of(part)
        address = self._room(size * len(value), align)
        stores = len(self.stores)
        for index, each in enumerate(value):
            self._store(address + index * size, part, each)
        if len(self.stores) == stores:
            self._lists[id(value)] = value, address
        return address, len(value)

    def _store(self, address: int, ty: Type, value: Any) -> None:
        if isinstance(value, Handle):
            self.before.append(value.before)
            self.stores.append(f"(i32.store (i32.const {address}) {value.text})")
        elif ty.kind in ("string", "list"):
            for offset, word in enumerate(self._placed(ty, value)):
                self._write(address + 4 * offset, (word & 0xFFFFFFFF).to_bytes(4, "little"))
        elif ty.kind == "fields":
            for part, each in zip(ty.parts, value, strict=True):
                size, align = size_of(part)
                address = _aligned(address, align)
                self._store(address, part, each)
                address += size
        elif ty.kind == "cases":
            case, payload = value
            self._write(address, bytes((case & 0xFF,)))
            part = ty.parts[case] if case < len(ty.parts) else None
            if part is not None:
                start = _aligned(_discriminant(ty), size_of(ty)[1])
                self._store(address + start, part, payload)
        else:
            size = size_of(ty)[0]
            self._write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def _room(self, size: int, align: int) -> int:
        address = _aligned(self.end(), align)
        self._data += bytes(address + size - self.end())
        return address

    def _write(self, address: int, data: bytes) -> None:
        start = address - self._start
        self._data[start : start + len(data)] = data


def _const(core: str, value: int) -> str:
    bits = 64 if core == "i64" else 32
    return f"({core}.const {value & ((1 << bits) - 1)})"
