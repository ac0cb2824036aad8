"""Make objects immortal (PEP 683), so that the children of a process read them without writing to them.

Python counts references in the objects themselves, so that a child which merely reads copies page after page of what
it shared with its parent. Since version 3.12 an object whose count has a certain value is immortal: it is not counted
any more. The interpreter marks its own constants so; this marks everything that can be reached, once, in a process at
rest: what is immortal is never freed. docs/decisions/0019-immortal-objects.md has the numbers.

On an interpreter whose layout is not known nothing happens. Source: PEP 683, CPython Include/refcount.h.
"""

from __future__ import annotations

import gc
import sys

from runwasi.startup.thin_ctypes import c_uint32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

_VALUES = {(3, 12): 0xFFFFFFFF, (3, 13): 0xFFFFFFFF, (3, 14): 0xC0000000}
"""By version what the low half of a 64-bit count is in an immortal object: _Py_IMMORTAL_REFCNT, since 3.14
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
"""What code objects hold, which do not tell the collector."""


def make_immortal() -> int:
    """Make every object that can be reached immortal; returns how many, 0 where that is not possible."""
    value = _VALUES.get(sys.version_info[:2])
    if value is None or not _has_known_layout():
        return 0
    gc.collect()
    addresses = _addresses_of_all()
    gc.freeze()  # the collector would write to them all the same
    for address in addresses:
        c_uint32.from_address(address).value = value
    return len(addresses)


def _has_known_layout() -> bool:
    """Return whether the interpreter has the usual build: 64 bits, little endian, with a lock, without debugging."""
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
    for own in (found, left, fresh):  # these end with us
        found.pop(id(own), None)
    return list(found)


def _parts(code: CodeType) -> list[object]:
    return [getattr(code, name) for name in _ATTRIBUTES]
