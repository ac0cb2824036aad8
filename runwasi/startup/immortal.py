"""Makes objects immortal (PEP 683), so that the children of a process read them without writing to them.

Python counts references in the objects themselves, so a child that only reads copies page after page of the memory
that it shared with its parent. Since version 3.12, an object with a certain count is immortal: its count no longer
changes. The interpreter marks its own constants so; this module marks everything that can be reached, once, in a
process at rest: immortal objects are never freed. docs/decisions/0019-immortal-objects.md has the numbers.

It does nothing on an interpreter of unknown layout. Source: PEP 683, CPython Include/refcount.h.
"""

from __future__ import annotations

import gc
import sys

from runwasi.startup.thin_ctypes import c_uint32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

_VALUES = {(3, 12): 0xFFFFFFFF, (3, 13): 0xFFFFFFFF, (3, 14): 0xC0000000}
"""The low half of the 64-bit count of an immortal object, by version: _Py_IMMORTAL_REFCNT, since 3.14
_Py_IMMORTAL_INITIAL_REFCNT."""

_ATTRIBUTES = (
    "co_consts",
    "co_exceptiontable",
    "co_filename",
    "co_linetable",
    "co_name",
    "co_names",
    "co_qualname",
)
"""The types that code objects refer to; code objects do not report them to the collector."""


def make_immortal() -> int:
    """Make every reachable object immortal; return their number, 0 if that is impossible."""
    value = _VALUES.get(sys.version_info[:2])
    if value is None or not _has_known_layout():
        return 0
    gc.collect()
    addresses = _addresses_of_all()
    gc.freeze()  # otherwise the collector would write to them
    for address in addresses:
        c_uint32.from_address(address).value = value
    return len(addresses)


def _has_known_layout() -> bool:
    """Return whether the interpreter is a usual build: 64 bits, little endian, with a lock, without debugging."""
    return (
        sys.maxsize > 1 << 32
        and sys.byteorder == "little"
        and not hasattr(sys, "gettotalrefcount")
        and "t" not in getattr(sys, "abiflags", "")
        and c_uint32.from_address(id(None)).value >= 1 << 31
    )


def _addresses_of_all() -> list[int]:
    found: dict[int, object] = {}
    left: list[object] = gc.get_objects()
    code = type(make_immortal.__code__)
    while left:
        fresh = []
        for item in left:
            if id(item) not in found:
                found[id(item)] = item
                fresh.append(item)
        left = gc.get_referents(*fresh)
        for item in fresh:
            if isinstance(item, code):
                left += _parts(item)
    for own in (found, left, fresh):  # these end with this function
        found.pop(id(own), None)
    return list(found)


def _parts(code: CodeType) -> list[object]:
    return [getattr(code, name) for name in _ATTRIBUTES]
