"""Encodes records and plain values as JSON, without the package `json` (decode.py says why)."""

from __future__ import annotations

from runwasi.oci.record import Record, json_name, members_of
from runwasi.startup.thin_json import encode_basestring, make_encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def to_json(value: Any) -> Any:
    """Convert a record to plain objects, arrays and scalars, without absent members."""
    if isinstance(value, Record):
        return {name: to_json(item) for name, item in _members(value).items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def _members(record: Record) -> dict[str, Any]:
    """Return a record's set members by their JSON names, in the order of their declaration."""
    names = _names.get(type(record))
    if names is None:
        kind = type(record)
        names = _names[kind] = [(name, json_name(kind, name)) for name in members_of(kind)]
    given = record.__dict__
    return {name: given[member] for member, name in names if given.get(member) is not None}


_names: dict[type[Record], list[tuple[str, str]]] = {}
_one_line = make_encoder(None, _members, encode_basestring, None, ":", ",", False, False, False)


def dumps(value: Any, indent: str = "") -> str:
    """Encode a record or a plain value as JSON: on one line, or with one `indent` per level."""
    if not indent:
        return "".join(_one_line(value, 0))
    return _write(to_json(value), indent, "\n")


def _write(value: Any, indent: str, newline: str) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        inner = newline + indent
        items = [encode_basestring(key) + ": " + _write(item, indent, inner) for key, item in value.items()]
        return _enclosed("{", items, "}", inner, newline)
    if isinstance(value, list):
        inner = newline + indent
        return _enclosed("[", [_write(item, indent, inner) for item in value], "]", inner, newline)
    return repr(value)  # int and float; JSON has no infinity, and we never write one


def _enclosed(opening: str, items: list[str], closing: str, inner: str, newline: str) -> str:
    if not items:
        return opening + closing
    return opening + inner + ("," + inner).join(items) + newline + closing
