"""Records and plain values to JSON, without the `json` package (decode.py says why)."""

from __future__ import annotations

from _json import encode_basestring

from runwasi.oci.record import Record, json_name, members_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def to_json(value: Any) -> Any:
    """Return a record as the plain objects, arrays and scalars of its document, without absent members."""
    if isinstance(value, Record):
        given = value.__dict__
        members = ((name, given.get(name)) for name in members_of(type(value)))
        return {json_name(type(value), name): to_json(item) for name, item in members if item is not None}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def dumps(value: Any, indent: str = "") -> str:
    """Write a record or a plain value as JSON: on one line, or with one `indent` for each level."""
    return _write(to_json(value), indent, "\n" if indent else "")


def _write(value: Any, indent: str, newline: str) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        inner = newline + indent
        items = [encode_basestring(key) + colon + _write(item, indent, inner) for key, item in value.items()]
        return _enclosed("{", items, "}", inner, newline)
    if isinstance(value, list):
        inner = newline + indent
        return _enclosed("[", [_write(item, indent, inner) for item in value], "]", inner, newline)
    return repr(value)  # int and float; JSON has no infinity, and neither has anything we write


def _enclosed(opening: str, items: list[str], closing: str, inner: str, newline: str) -> str:
    if not items:
        return opening + closing
    return opening + inner + ("," + inner).join(items) + newline + closing
