"""The arguments that a hostile component tries: for each type, values of three sorts.

ACCEPTED may succeed, REFUSED must not if the function can say so, WILD must trap: the value does not exist.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.attacks.canonical_abi import Handle, Type, Wild
from tests.attacks.component_producers import PRODUCERS

ACCEPTED, REFUSED, WILD = range(3)
END = 256 << 16
"""The bytes of the guest's memory."""


class Value(NamedTuple):
    """A value to try, and which sort it is."""

    sort: int
    value: Any


_INSIDE = (b"file", b".", b"file/", b"dir/../file", b"new", b"new/", b"./", "é\U0010ffff".encode())
_OUTSIDE = (
    b"", b"..", b"../secret", b"/", b"/etc/passwd", b"dir/../..", b"/proc/self/mem", b"up/secret", b"proc/self/mem",
    b"fd/0", b"root/etc", b"\0", b"file\0x", b"a" * 5000, b"a/" * 3000,
)  # fmt: skip
_TEXTS = (
    b"x", b"", b"a" * 65_536, b"\0", b"a\r\nb: c", b" ", b"..", "é".encode(), b"\xc5\xbf" * 300, b"host",
    b"transfer-encoding", b"content-length", b"127.0.0.1:1", b"[::1]:1", b"user@127.0.0.1:0", b"127.0.0.1:65536",
    b"127.0.0.1", b"[", b"]", b"[::1", b".", b"a." * 130, b"a" * 64 + b".b", b"-1", b"%", b"*",
)  # fmt: skip
_BYTES = (
    b"5", b"", b"9" * 5000, b"a\r\nb: c", b"\0", b"x" * 16, b"x" * 4096, b"x" * 4097, b"x" * 65_536, b"x" * 65_537,
    b"x" * (1 << 20), b"18446744073709551616", b"-1",
)  # fmt: skip
_BITS = {"u8": 8, "u16": 16, "u32": 32, "s32": 32, "u64": 64, "s64": 64}
_MANY = 100_000


def values_of(ty: Type, good: str, *, paths: bool) -> list[Value]:
    """Return a type's values, the best first. `good` is the producer of the best handle, `paths` what strings are."""
    if ty.kind in _BITS:
        return [Value(ACCEPTED, value) for value in _numbers(_BITS[ty.kind])]
    if ty.kind == "bool":
        return [Value(ACCEPTED, value) for value in (0, 1, 2)]
    if ty.kind == "string":
        return [*(_paths() if paths else [Value(ACCEPTED, text) for text in _TEXTS]), *_wild_texts()]
    if ty.kind in ("own", "borrow"):
        return _handles(ty, good)
    if ty.kind == "flags":
        every = (1 << len(ty.parts)) - 1
        return [
            Value(ACCEPTED, value)
            for value in (0, *(1 << bit for bit in range(len(ty.parts))), every, 0xFFFFFFFF)
        ]
    if ty.kind == "list":
        return _lists(ty, good, paths=paths)
    if ty.kind == "cases":
        return _cases(ty, good, paths=paths)
    assert ty.kind == "fields", ty.kind
    return _fields(ty, good, paths=paths)


def _numbers(bits: int) -> list[int]:
    top = 1 << bits
    numbers = [1, 0, 2, 200, top // 2 - 1, top // 2, top - 1]
    return numbers if bits < 64 else [*numbers, 4097, 65_537, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40]


def _paths() -> list[Value]:
    return [
        *(Value(ACCEPTED, path) for path in (*_INSIDE, b"up")), *(Value(REFUSED, path) for path in _OUTSIDE),
    ]  # fmt: skip


def _wild_texts() -> list[Value]:
    words = (Wild(END, 4), Wild(END - 1, 2), Wild(8, 0xFFFFFFFF), Wild(-1, 1), Wild(8, 0x7FFFFFFF))
    wild = [Value(WILD, value) for value in (*words, b"\xff\xfe", b"\xed\xa0\x80")]
    return [*wild, Value(ACCEPTED, Wild(END // 2, END // 2))]


def _lists(ty: Type, good: str, *, paths: bool) -> list[Value]:
    (part,) = ty.parts
    size = 1 if part.kind == "u8" else 4
    wild = [Value(WILD, word) for word in (Wild(END, 1), Wild(END - size, 0x7FFFFFFF), Wild(0, 0xFFFFFFFF))]
    if part.kind == "u8":
        wild.append(Value(ACCEPTED, Wild(0, END)))
        return [*(Value(ACCEPTED, content) for content in _BYTES), *wild]
    best, *others = values_of(part, good, paths=paths)
    single = [Value(each.sort, [each.value]) for each in others]
    many = 1000 if part.kind == "borrow" else _MANY
    lists: tuple[list[Any], ...] = (
        [best.value],
        [],
        [best.value] * 2,
        [best.value] * 17,
        [best.value] * many,
    )
    return [*(Value(ACCEPTED, each) for each in lists), *single, *wild]


def _cases(ty: Type, good: str, *, paths: bool) -> list[Value]:
    found, others = [], []
    for case, part in enumerate(ty.parts):
        if part is None:
            found.append(Value(ACCEPTED, (case, None)))
            continue
        best, *rest = values_of(part, good, paths=paths)
        found.append(Value(ACCEPTED, (case, best.value)))
        others += [Value(each.sort, (case, each.value)) for each in rest]
    return [*found, *others, Value(WILD, (len(ty.parts), None)), Value(WILD, (255, None))]


def _fields(ty: Type, good: str, *, paths: bool) -> list[Value]:
    """Return records that differ from the best in one field."""
    choices = [values_of(part, good, paths=paths) for part in ty.parts]
    best = tuple(each[0].value for each in choices)
    found = [Value(ACCEPTED, best)]
    for at, each in enumerate(choices):
        found += [Value(one.sort, (*best[:at], one.value, *best[at + 1 :])) for one in each[1:]]
    return found


def _handles(ty: Type, good: str) -> list[Value]:
    """Return a resource's handles: each way to get one, with its parent gone, dropped, foreign, and numbers."""
    ways = [name for name, each in PRODUCERS.items() if each.resource == ty.resource]
    ways.sort(key=lambda name: name != good)
    found = [Value(ACCEPTED, made(name)) for name in ways]
    found += [
        Value(
            ACCEPTED,
            Handle(f"(global.get ${name})", f"(call $make_{name}) {dropped(PRODUCERS[name].parent)}"),
        )
        for name in ways
        if PRODUCERS[name].parent
    ]
    found += [
        Value(WILD, Handle(f"(global.get ${name})", f"(call $make_{name}) {dropped(name)}"))
        for name in ways[:1]
    ]
    foreign = "fields" if ty.resource != "fields" else "network"
    found.append(Value(WILD, made(foreign)))
    return [*found, *(Value(WILD, Handle(f"(i32.const {number})")) for number in (0, 1000, 0x7FFFFFFF, -1))]


def made(name: str) -> Handle:
    """Return the handle of a producer."""
    return Handle(f"(global.get ${name})", f"(call $make_{name})")


def dropped(name: str) -> str:
    """Return the drop of a producer's handle."""
    return f"(call $drop_{PRODUCERS[name].resource} (global.get ${name}))"
