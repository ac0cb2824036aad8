"""Encodes and decodes the part of protocol buffers that containerd's interfaces need, without the protobuf package.

Importing google.protobuf takes 19 ms and 5 MiB, which a cold start and every idle pod would pay; encoding or
decoding a shim's short message in Python takes about ten microseconds. scripts/generate_protos.py generates the
message classes from proto/; tests compare this codec with Google's, byte for byte.
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_options):
        """Stand in for typing.dataclass_transform, which only type checkers need."""
        return lambda cls: cls


# The kinds of fields. The varint kinds differ in how they decode a negative or out-of-range number.
STRING, BYTES, BOOL, UINT, INT, INT32 = "string", "bytes", "bool", "uint", "int", "int32"
FIXED64, DOUBLE = "fixed64", "double"

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_EIGHT_BYTES = {FIXED64: Struct("<Q"), DOUBLE: Struct("<d")}
_WIRE_TYPES = {
    BOOL: _VARINT,
    UINT: _VARINT,
    INT: _VARINT,
    INT32: _VARINT,
    FIXED64: _FIXED64,
    DOUBLE: _FIXED64,
}
_MAX_FIELD = 1 << 29

MOST_FIELDS = 1 << 17
"""The most fields of a message and its parts: 4 MiB of empty ones would keep a server busy for five seconds."""

EMPTY_MAP: Mapping[str, Any] = {}
"""The shared value of every absent map."""


class WireError(ValueError):
    """The bytes do not encode the expected message."""


@dataclass_transform(kw_only_default=True)
class Message:
    """The base of generated messages: keyword members, defaults on the class, equality by content.

    NAME is the message's full name, which is its type URL in an Any. FIELDS lists (number, name, kind): a kind is
    one of the names above, a message class, a one-element list for a repeated field, or a one-item dict for a map.
    """

    NAME: ClassVar[str] = ""
    FIELDS: ClassVar[tuple[tuple[int, str, Any], ...]] = ()

    def __init__(self, **members: object) -> None:
        self.__dict__.update(members)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for _, name, _ in self.FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    def encode(self) -> bytes:
        """Encode the message without members that have their default, as proto3 requires.

        The default of an optional number, and of a message, is None: its zero is encoded.
        """
        out = bytearray()
        given = self.__dict__
        for number, name, kind in self.FIELDS:
            value = given.get(name)
            if value or (value is not None and getattr(type(self), name) is None):
                _encode_field(out, number, kind, value)
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Decode a message; skip unknown fields. Raises WireError."""
        return cls._decode(memoryview(data), [MOST_FIELDS])

    @classmethod
    def _decode(cls, view: memoryview, left: list[int]) -> Self:
        """Decode a message, which may be part of another; `left` holds the number of fields still to be read."""
        message = cls()
        members = message.__dict__
        fields = _fields_by_number(cls)
        position, end = 0, len(view)
        while position < end:
            number, wire_type, value, position = _read_one_of(view, position, left)
            known = fields.get(number)
            if known is not None:
                _store(members, known[0], known[1], wire_type, value, left)
        return message


_known_fields: dict[type[Message], dict[int, tuple[str, Any]]] = {}


def _fields_by_number(message_type: type[Message]) -> dict[int, tuple[str, Any]]:
    fields = _known_fields.get(message_type)
    if fields is None:
        fields = {number: (name, kind) for number, name, kind in message_type.FIELDS}
        _known_fields[message_type] = fields
    return fields


# Reading


def read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the number at position and the position after it. Raises WireError."""
    result = shift = 0
    try:
        while True:
            byte = view[position]
            position += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result & 0xFFFFFFFFFFFFFFFF, position
            shift += 7
            if shift > 63:
                raise WireError("a number is longer than 10 bytes")
    except IndexError:
        raise WireError("the message ends within a number") from None


def read_field(view: memoryview, position: int) -> tuple[int, int, int | memoryview, int]:
    """Return one field's number, wire type and raw value, and the position after it. Raises WireError."""
    key, position = read_varint(view, position)
    number, wire_type = key >> 3, key & 7
    if not 0 < number < _MAX_FIELD:
        raise WireError(f"field number {number} is out of range")
    if wire_type == _VARINT:
        value, position = read_varint(view, position)
        return number, wire_type, value, position
    if wire_type == _LENGTH:
        length, position = read_varint(view, position)
    elif wire_type == _FIXED64:
        length = 8
    elif wire_type == _FIXED32:
        length = 4
    else:
        raise WireError(f"field {number} has the unknown wire type {wire_type}")
    if length > len(view) - position:
        raise WireError(f"field {number} is longer than its message")
    return number, wire_type, view[position : position + length], position + length


def _read_one_of(view: memoryview, position: int, left: list[int]) -> tuple[int, int, int | memoryview, int]:
    """Read a field as `read_field` does, if one is left."""
    left[0] -= 1
    if left[0] < 0:
        raise WireError(f"the message has more than {MOST_FIELDS} fields")
    return read_field(view, position)


def _store(
    members: dict[str, Any], name: str, kind: Any, wire_type: int, raw: int | memoryview, left: list[int]
) -> None:
    if isinstance(kind, list):
        known = members.setdefault(name, [])
        element = kind[0]
        if wire_type == _LENGTH and element in _WIRE_TYPES:
            known.extend(_unpacked(element, raw))
        else:
            known.append(_value(name, element, wire_type, raw, left))
    elif isinstance(kind, dict):
        ((key_kind, value_kind),) = kind.items()
        key, value = _map_entry(name, key_kind, value_kind, wire_type, raw, left)
        members.setdefault(name, {})[key] = value
    else:
        members[name] = _value(name, kind, wire_type, raw, left)


def _value(name: str, kind: Any, wire_type: int, raw: int | memoryview, left: list[int]) -> Any:
    """Convert a raw value to the value of a field of this kind. Raises WireError."""
    if wire_type != _WIRE_TYPES.get(kind, _LENGTH):
        raise WireError(f"{name} has the wrong wire type {wire_type}")
    if isinstance(raw, int):
        return _number(kind, raw)
    if kind == STRING:
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            raise WireError(f"{name} is not UTF-8") from None
    if kind == BYTES:
        return bytes(raw)
    if kind in _EIGHT_BYTES:
        return _EIGHT_BYTES[kind].unpack(raw)[0]
    message: type[Message] = kind
    return message._decode(raw, left)


def _number(kind: str, raw: int) -> int | bool:
    if kind == UINT:
        return raw
    if kind == BOOL:
        return raw != 0
    bits = 32 if kind == INT32 else 64
    raw &= (1 << bits) - 1
    return raw - (1 << bits) if raw >> (bits - 1) else raw


def _unpacked(kind: str, raw: int | memoryview) -> list[Any]:
    assert isinstance(raw, memoryview)
    if kind in _EIGHT_BYTES:
        if len(raw) % 8:
            raise WireError("a list of numbers of eight bytes ends within one")
        return [value for (value,) in _EIGHT_BYTES[kind].iter_unpack(raw)]
    values, position = [], 0
    while position < len(raw):
        value, position = read_varint(raw, position)
        values.append(_number(kind, value))
    return values


def _map_entry(
    name: str, key_kind: Any, value_kind: Any, wire_type: int, raw: int | memoryview, left: list[int]
) -> tuple[Any, Any]:
    """Read one entry of a map: a message with the key as field 1 and the value as field 2."""
    if isinstance(raw, int) or wire_type != _LENGTH:
        raise WireError(f"{name} has the wrong wire type {wire_type}")
    key, value = _default(key_kind), _default(value_kind)
    position = 0
    while position < len(raw):
        number, entry_type, part, position = _read_one_of(raw, position, left)
        if number == 1:
            key = _value(name, key_kind, entry_type, part, left)
        elif number == 2:
            value = _value(name, value_kind, entry_type, part, left)
    return key, value


def _default(kind: Any) -> Any:
    if kind == STRING:
        return ""
    if kind == BYTES:
        return b""
    return 0 if isinstance(kind, str) else kind()


# Writing


def _encode_field(out: bytearray, number: int, kind: Any, value: Any) -> None:
    if isinstance(kind, list):
        _encode_repeated(out, number, kind[0], value)
    elif isinstance(kind, dict):
        ((key_kind, value_kind),) = kind.items()
        for key, item in value.items():
            entry = bytearray()
            _encode_value(entry, 1, key_kind, key)
            _encode_value(entry, 2, value_kind, item)
            _encode_bytes(out, number, entry)
    else:
        _encode_value(out, number, kind, value)


def _encode_repeated(out: bytearray, number: int, kind: Any, values: Any) -> None:
    if not values:
        return
    if kind not in _WIRE_TYPES:
        for value in values:
            _encode_value(out, number, kind, value)
        return
    packed = bytearray()
    for value in values:
        if kind in _EIGHT_BYTES:
            packed += _EIGHT_BYTES[kind].pack(value)
        else:
            _write_varint(packed, int(value))
    _encode_bytes(out, number, packed)


def _encode_value(out: bytearray, number: int, kind: Any, value: Any) -> None:
    if kind == STRING:
        _encode_bytes(out, number, value.encode())
    elif kind == BYTES:
        _encode_bytes(out, number, value)
    elif kind in _EIGHT_BYTES:
        _write_varint(out, number << 3 | _FIXED64)
        out += _EIGHT_BYTES[kind].pack(value)
    elif isinstance(kind, str):
        _write_varint(out, number << 3 | _VARINT)
        _write_varint(out, int(value))
    else:
        _encode_bytes(out, number, value.encode())


def _encode_bytes(out: bytearray, number: int, data: bytes | bytearray) -> None:
    _write_varint(out, number << 3 | _LENGTH)
    _write_varint(out, len(data))
    out += data


def _write_varint(out: bytearray, value: int) -> None:
    value &= 0xFFFFFFFFFFFFFFFF  # a negative number is written as its 64-bit complement
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
