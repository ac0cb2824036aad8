"""Finds zero bytes in the texts of a message: protocol buffers allow them, but paths, names and options do not."""

from __future__ import annotations

from runwasi.wire.codec import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def member_with_zero(message: Message) -> str:
    """Return the name of the first member whose text has a zero byte, "" if there is none.

    The elements of a list or map have its name: "rootfs.source" may be of any mount in rootfs.
    """
    return (_in_members(message) or "").removeprefix(".")


def _in_members(message: Message) -> str | None:
    return _first(_below(name, value) for name, value in vars(message).items())


def _below(name: str, value: object) -> str | None:
    found = _in_value(value)
    return None if found is None else f".{name}{found}"


def _in_value(value: object) -> str | None:
    """Return the path of the first one below a value, "" for the value itself; None if there is none."""
    if isinstance(value, str):
        return "" if "\0" in value else None
    if isinstance(value, Message):
        return _in_members(value)
    if isinstance(value, dict):
        return _first(map(_in_value, (*value, *value.values())))
    if isinstance(value, (list, tuple)):
        return _first(map(_in_value, value))
    return None


def _first(found: Iterable[str | None]) -> str | None:
    return next((where for where in found if where is not None), None)
