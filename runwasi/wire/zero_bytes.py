"""Finds zero bytes in the texts of a message: protocol buffers allow them, and no path, name or option has one."""

from __future__ import annotations

from runwasi.wire.codec import STRING, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def member_with_zero(message: Message) -> str:
    """Return the name of a member whose text has a zero byte, such as "rootfs.source"; "" if none has."""
    for name, value in vars(message).items():
        kind = next(kind for _, known, kind in message.FIELDS if known == name)
        found = _in_value(kind, value)
        if found is not None:
            return f"{name}{found}"
    return ""


def _in_value(kind: object, value: object) -> str | None:
    """Return where below a member there is one, "" for the member itself; None if nowhere."""
    if isinstance(value, Message):
        inner = member_with_zero(value)
        return f".{inner}" if inner else None
    if isinstance(value, str):
        return "" if kind == STRING and "\0" in value else None
    if isinstance(kind, list):
        return _first(_in_value(kind[0], element) for element in value)  # type: ignore[attr-defined]
    if isinstance(kind, dict):
        ((key_kind, value_kind),) = kind.items()
        found = (_in_value(key_kind, key) for key in value)  # type: ignore[attr-defined]
        return _first((*found, *(_in_value(value_kind, one) for one in value.values())))  # type: ignore[attr-defined]
    return None


def _first(found: Iterable[str | None]) -> str | None:
    return next((where for where in found if where is not None), None)
