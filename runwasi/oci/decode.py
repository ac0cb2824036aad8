"""Decodes JSON documents into records, strictly; an error names the JSON path of the wrong value.

It uses the standard library's C scanner without the package `json`, which imports `re` (5 ms, more than a
container's kernel work). A record type's annotations become converters once, at its first use. As in Go programs,
which read and write these documents too, a member set to null is absent, and the case of names does not matter;
unknown members are ignored (runtime-spec config.md#extensibility).
"""

from __future__ import annotations

import os
import sys
from errno import EINVAL
from stat import S_ISREG

from runwasi.oci.record import json_name, members_of, required_of
from runwasi.startup.thin_json import make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    from runwasi.oci.record import Record

    Converter: TypeAlias = Callable[[Any], Any]
    R = TypeVar("R", bound=Record)

MAX_SIZE = 4 << 20
"""The largest document that is read, in bytes: ttrpc's limit for a message, which also carries documents."""

MOST_OBJECTS = 20_000
"""The most objects of an array, such as mounts: more would keep a server busy for long."""

_WHITESPACE = " \t\n\r"


class SpecError(Exception):
    """A document violates its specification.

    `path` is the JSON path of the wrong value (`$.linux.resources.memory.limit`), `why` a phrase that
    follows it.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


class _ScannerSettings:
    """The attributes of a json.JSONDecoder that the C scanner reads."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str]

    @staticmethod
    def parse_constant(name: str) -> object:
        raise SpecError("$", f"is not JSON: JSON has no number {name}")


_scan = make_scanner(_ScannerSettings())  # type: ignore[arg-type]  # typeshed wants a make_scanner here


def parse_json(data: bytes) -> Any:
    """Parse one JSON document.

    Raises SpecError with the path `$` if the bytes are not UTF-8, not JSON, too large or nested too deeply.
    """
    if len(data) > MAX_SIZE:
        raise SpecError("$", f"is larger than {MAX_SIZE >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SpecError("$", f"is not UTF-8 at byte {error.start}") from None
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise SpecError("$", f"is not JSON: no value at {_position(text, stop.value)}") from None
    except RecursionError:
        raise SpecError("$", "is nested too deeply") from None
    except SystemError:  # the scanner's exception is in a module that it does not import itself
        import json.decoder  # noqa: F401  # late: 5 ms

        return parse_json(data)
    except ValueError as error:  # json.JSONDecodeError, or an integer of more digits than int() takes
        at = getattr(error, "pos", None)
        where = "" if at is None else f" at {_position(text, at)}"
        what = getattr(error, "msg", "a number has too many digits")
        raise SpecError("$", f"is not JSON: {what}{where}") from None
    rest = text[end:].lstrip(_WHITESPACE)
    if rest:
        raise SpecError(
            "$", f"is not JSON: more text after the value at {_position(text, len(text) - len(rest))}"
        )
    return value


def _position(text: str, index: int) -> str:
    """Describe an index in a text by line and column, or as the end of the text."""
    if index >= len(text.rstrip(_WHITESPACE)):
        return "the end of the text"
    return f"line {text.count(chr(10), 0, index) + 1} column {index - text.rfind(chr(10), 0, index)}"


def read_json(path: str) -> Any:
    """Parse the JSON document in a file. Raises OSError or SpecError."""
    return parse_json(read_document(path))


def read_document(path: str, *, regular: bool = False) -> bytes:
    """Read a file that should contain a document, at most a little more than MAX_SIZE. Raises OSError.

    If it must be a regular file, the call does not wait for the writer of a FIFO.
    """
    flags = os.O_NONBLOCK | os.O_NOCTTY if regular else 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        if regular and not S_ISREG(os.fstat(fd).st_mode):
            raise OSError(EINVAL, "not a regular file", path)
        chunks = []
        left = MAX_SIZE + 1
        while left > 0 and (chunk := os.read(fd, left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def decode_document(record_type: type[R], data: bytes, name: str) -> R:
    """Decode the document of a file called `name`. Raises SpecError, which names the file before the JSON path."""
    try:
        return decode(record_type, parse_json(data))
    except SpecError as error:
        raise SpecError(f"{name}: {error.path}", error.why) from None


def decode(record_type: type[R], value: Any, path: str = "$") -> R:
    """Convert the parsed JSON value at `path` to a record.

    Raises SpecError with the path of the first value that has the wrong type or is out of range, or of the
    first required member that is missing.
    """
    try:
        return _record(record_type, value)
    except SpecError as error:
        raise SpecError(path + error.path, error.why) from None


def _record(record_type: type[R], value: Any) -> R:
    if type(value) is not dict:
        raise SpecError("", f"must be an object, not {_kind(value)}")
    plan = _plans.get(record_type) or _make_plan(record_type)
    members = {}
    key = ""
    try:
        for key, item in value.items():
            step = plan.steps.get(key) or plan.step_of_any_case(key)
            if step is not None and item is not None and not (item == "" and step[2]):
                members[step[0]] = step[1](item)
    except SpecError as error:
        raise SpecError(f".{key}{error.path}", plan.words(key) + error.why) from None
    for name in plan.required:
        if name not in members:
            key = json_name(record_type, name)
            raise SpecError(f".{key}", f"{plan.words(key)}is required")
    record = object.__new__(record_type)
    object.__setattr__(record, "__dict__", members)
    if plan.check is not None:
        plan.check(record)
    return record


class _Plan:
    """The decoder of one record type: (member, converter, whether "" means absent) by JSON name."""

    __slots__ = ("_folded", "check", "noun", "required", "steps")

    def __init__(self, record_type: type[Record]) -> None:
        self.steps: dict[str, tuple[str, Converter, bool]] = {}
        scope: dict[str, Any] = {}
        for ancestor in reversed(record_type.__mro__[:-2]):  # all but Record and object
            scope.update(sys.modules[ancestor.__module__].__dict__)
        self.required = sorted(required_of(record_type))
        for name, annotation in members_of(record_type).items():
            convert = converter(annotation, scope)
            empty_is_absent = name not in self.required and convert.__name__ in {"choice", "prefixed"}
            self.steps[json_name(record_type, name)] = (name, convert, empty_is_absent)
        self.check: Callable[[Any], None] | None = getattr(record_type, "check", None)
        self.noun = record_type.noun
        self._folded: dict[str, tuple[str, Converter, bool]] = {}

    def step_of_any_case(self, key: str) -> tuple[str, Converter, bool] | None:
        """Return the step for a name that differs from ours only in case: `pagesize` is pageSize."""
        if not self._folded:
            self._folded = {name.lower(): step for name, step in self.steps.items()}
        return self._folded.get(key.lower())

    def words(self, key: str) -> str:
        """Return the beginning of an error about a member, for the few types whose errors callers search."""
        return f"invalid {self.noun} {key}: " if self.noun else ""


_plans: dict[type[Record], _Plan] = {}


def _make_plan(record_type: type[Record]) -> _Plan:
    plan = _plans[record_type] = _Plan(record_type)
    return plan


def converter(annotation: str, scope: dict[str, Any]) -> Converter:
    """Return the function that checks a JSON value and converts it to an annotation's type.

    `scope` maps names to record types or to the text of an alias.
    """
    annotation = annotation.removesuffix(" | None")
    name, _, arguments = annotation.partition("[")
    arguments = arguments.removesuffix("]")
    if name == "tuple":
        return _array_of(converter(arguments.removesuffix(", ..."), scope))
    if name == "Mapping":
        return _map_of(converter(arguments.removeprefix("str, "), scope))
    if name == "Literal":
        return _choice_of(choices(annotation))
    if name == "Annotated":
        kind, *bounds = arguments.split(", ")
        return (
            _integer_in(int(bounds[0]), int(bounds[1]))
            if kind == "int"
            else _string_from(bounds[0].strip("'"))
        )
    if name in _SCALARS:
        return _SCALARS[name]
    target = scope[name]
    return converter(target, scope) if isinstance(target, str) else _object_of(target)


def choices(literal: object) -> tuple[str, ...]:
    """Return the values of a Literal: its text, which an enumeration's alias is at run time."""
    return tuple(
        word.strip(" '") for word in str(literal).removeprefix("Literal[").removesuffix("]").split(",")
    )


def _kind(value: object) -> str:
    """Return the JSON type of a value in words."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", float: "a fraction"}
    return kinds.get(type(value), "null" if value is None else "a number")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise SpecError("", f"must be a string, not {_kind(value)}")
    if "\0" in value:
        raise SpecError("", "must not contain a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone escape like \ud800
            raise SpecError("", "contains half of a surrogate pair") from None
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise SpecError("", f"must be true or false, not {_kind(value)}")
    return value


def _anything(value: Any) -> Any:
    return value


_SCALARS: dict[str, Converter] = {"str": _text, "bool": _boolean, "Any": _anything}


def _integer_in(least: int, most: int) -> Converter:
    def integer(value: Any) -> int:
        if type(value) is not int:
            raise SpecError("", f"must be an integer, not {_kind(value)}")
        if not least <= value <= most:
            shown = value if abs(value) < 1 << 80 else "that many digits"
            raise SpecError("", f"must be between {least} and {most}, not {shown}")
        return value

    return integer


def _string_from(start: str) -> Converter:
    def prefixed(value: Any) -> str:
        if not _text(value).startswith(start):
            what = "be an absolute path" if start == "/" else f'begin with "{start}"'
            raise SpecError("", f"must {what}, not {quoted(value)}")
        return value  # type: ignore[no-any-return]

    return prefixed


def _choice_of(values: tuple[str, ...]) -> Converter:
    def choice(value: Any) -> str:
        if _text(value) not in values:
            raise SpecError("", f"{quoted(value)} is not one of {', '.join(values)}")
        return value  # type: ignore[no-any-return]

    return choice


def _array_of(convert: Converter) -> Converter:
    def array(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise SpecError("", f"must be an array, not {_kind(value)}")
        if len(value) > MOST_OBJECTS and type(value[0]) is dict:
            raise SpecError("", f"has {len(value)} objects, more than {MOST_OBJECTS}")
        items: list[Any] = []
        try:
            for item in value:
                items.append(convert(item))  # noqa: PERF401  (the length says where it failed)
        except SpecError as error:
            raise SpecError(f"[{len(items)}]{error.path}", error.why) from None
        return tuple(items)

    return array


def _map_of(convert: Converter) -> Converter:
    def mapping(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise SpecError("", f"must be an object, not {_kind(value)}")
        items: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                items[_text(key)] = convert(item)
        except SpecError as error:
            raise SpecError(f"[{quoted(key)}]{error.path}", error.why) from None
        return items

    return mapping


def _object_of(record_type: type[Record]) -> Converter:
    def record(value: Any) -> Record:
        return _record(record_type, value)

    return record


def quoted(value: str) -> str:
    """Quote a value for an error message: printable, and at most a line long."""
    shown = value if len(value) <= 80 else value[:77] + "..."
    return '"' + shown.encode("unicode_escape").decode().replace('"', '\\"') + '"'
