"""wasi:http/types, the simple parts: header fields, methods, error codes."""

from __future__ import annotations

from runwasi.wasi.component.interface import Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.streams import IoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn

    from runwasi.wasi.component.guest import Guest

    ErrorCode = tuple[str, object]
    """WIT's variant error-code: the case and its payload."""

types = Interface("wasi:http/types")

_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The characters of names and methods. Source: RFC 9110, 5.6.2."""

_CONTROLS = bytes(byte for byte in (*range(0x20), 0x7F) if byte != 0x09)
"""The characters that a value must not contain. Source: RFC 9110, 5.5."""

HOP_BY_HOP = frozenset(
    (
        "connection", "host", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip
"""Fields of the connection, which is ours: guests neither see nor set them."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_METHOD_CASES = {method.encode(): (method.lower(), None) for method in METHODS}


class HttpError(Exception):
    """A transfer failed; `code` is the guest's error-code."""

    def __init__(self, case: str, payload: object = None) -> None:
        super().__init__(case)
        self.code: ErrorCode = (case, payload)


def is_token(text: bytes) -> bool:
    """Return whether the text is valid as a field name or a method."""
    return bool(text) and not text.translate(None, _TOKEN)


def is_value(text: bytes) -> bool:
    """Return whether the text is valid as a field value."""
    return len(text.translate(None, _CONTROLS)) == len(text)


def method_case(method: bytes) -> tuple[str, str | None]:
    """Convert a method to WIT's variant."""
    return _METHOD_CASES.get(method) or ("other", method.decode("latin-1"))


@types.resource("fields", "headers", "trailers")
class Fields(Resource):
    """Header fields in order: (lower-case name, value)."""

    def __init__(self, entries: Iterable[tuple[str, bytes]] = (), *, immutable: bool = False) -> None:
        self.pairs = list(entries)
        self.immutable = immutable

    @classmethod
    def new(cls) -> Fields:
        """Make empty fields."""
        return cls()

    @staticmethod
    def from_list(entries: Sequence[tuple[str, bytes]]) -> Fields:
        """Make fields of (name, value) pairs."""
        fields = Fields()
        for name, value in entries:
            fields.append(name, value)
        return fields

    def get(self, name: str) -> list[bytes]:
        """Return all values of a name."""
        name = name.lower()
        return [value for known, value in self.pairs if known == name]

    def has(self, name: str) -> bool:
        """Return whether a name is present."""
        name = name.lower()
        return any(known == name for known, _ in self.pairs)

    def set(self, name: str, values: Sequence[bytes]) -> None:
        """Replace all values of a name."""
        lower = self._checked(name, b"")
        for value in values:
            if not is_value(value):
                _refuse("invalid-syntax")
        self.delete(name)
        self.pairs += [(lower, value) for value in values]

    def delete(self, name: str) -> None:
        """Remove a name."""
        name = self._checked(name, b"")
        self.pairs = [pair for pair in self.pairs if pair[0] != name]

    def append(self, name: str, value: bytes) -> None:
        """Add a value to a name."""
        self.pairs.append((self._checked(name, value), value))

    def entries(self) -> list[tuple[str, bytes]]:
        """Return all (name, value) pairs."""
        return self.pairs

    def clone(self) -> Fields:
        """Make a copy, which can be changed even if this cannot."""
        return Fields(self.pairs)

    def _checked(self, name: str, value: bytes) -> str:
        if self.immutable:
            _refuse("immutable")
        if not is_token(name.encode()) or not is_value(value):
            _refuse("invalid-syntax")
        name = name.lower()
        if name in HOP_BY_HOP:
            _refuse("forbidden")
        return name


def _refuse(header_error: str) -> NoReturn:
    raise Err((header_error, None))


def lines(fields: Iterable[tuple[str, bytes]]) -> bytes:
    """Format fields as HTTP/1.1, each with its line end."""
    return b"".join([b"%s: %s\r\n" % (name.encode(), value) for name, value in fields])


def content_length(fields: Fields) -> int | None:
    """Return the declared length of a body, None if it is missing or not a number."""
    values = fields.get("content-length")
    return int(values[0]) if values and values[0].isdigit() else None


@types.function("http-error-code")
def http_error_code(_guest: Guest, error: IoError) -> ErrorCode | None:
    """Return the error-code of a stream's error, None if it was no HTTP error."""
    return error.cause.code if isinstance(error.cause, HttpError) else None
