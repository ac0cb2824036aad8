"""The frozen base class of all records, and the scalar types of their members.

A record's annotations are its schema: type checkers read them like a dataclass's, and runwasi.oci.decode reads
the same text to decode a document. The import only creates the class, because sixty dataclasses would cost a
container's start more than its kernel work. A default is a class attribute, and an instance stores only the
members that were set, so an absent member costs nothing.

The scalar types are strings at run time for the same reason: `typing` is not imported on the start path.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Annotated, Any, ClassVar, TypeAlias, dataclass_transform
else:

    def dataclass_transform(**_options):
        """Stand in for typing.dataclass_transform, which only type checkers need."""
        return lambda cls: cls


# "Annotated[int, least, most]" bounds an integer; "Annotated[str, start]" is a string with that prefix.
Int32: TypeAlias = "Annotated[int, -2147483648, 2147483647]"
Int64: TypeAlias = "Annotated[int, -9223372036854775808, 9223372036854775807]"
Uint16: TypeAlias = "Annotated[int, 0, 65535]"
Uint32: TypeAlias = "Annotated[int, 0, 4294967295]"
Uint64: TypeAlias = "Annotated[int, 0, 18446744073709551615]"
Positive: TypeAlias = "Annotated[int, 1, 9223372036854775807]"
Id: TypeAlias = "Annotated[int, 0, 4294967294]"  # (uid_t)-1 means "unchanged" to the kernel: man 2 setresuid
AbsolutePath: TypeAlias = "Annotated[str, '/']"

EMPTY: Mapping[str, Any] = {}
"""The shared value of every absent map."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:  # noqa: PLW1641  (a record with a map in it has no hash)
    """The base of immutable records: keyword members, equality and a readable repr."""

    json_names: ClassVar[Mapping[str, str]] = EMPTY
    """The JSON names of members that do not follow the rule of `json_name`."""

    noun: ClassVar[str] = ""
    """The record's name in errors, if callers search for other runtimes' words: "memory policy"."""

    def __init__(self, **members: object) -> None:
        known, required = _names.get(type(self)) or _learn_names(type(self))
        given = members.keys()
        if unknown := given - known:
            raise TypeError(f"{type(self).__name__} has no member {', '.join(sorted(unknown))}")
        if missing := required - given:
            raise TypeError(f"{type(self).__name__} needs {', '.join(sorted(missing))}")
        self.__dict__.update(members)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in members_of(type(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


_names: dict[type[Record], tuple[frozenset[str], frozenset[str]]] = {}
"""The members of each record type of which a record was made, and of them the required."""


def _learn_names(record_type: type[Record]) -> tuple[frozenset[str], frozenset[str]]:
    names = frozenset(members_of(record_type)), frozenset(required_of(record_type))
    _names[record_type] = names
    return names


def members_of(record_type: type[Record]) -> dict[str, str]:
    """Return the annotations of a record type's members, as text, in declaration order."""
    return {
        name: annotation
        for ancestor in reversed(record_type.__mro__[:-1])
        for name, annotation in ancestor.__annotations__.items()
        if not annotation.startswith("ClassVar")
    }


def required_of(record_type: type[Record]) -> set[str]:
    """Return the names of the members that have no default."""
    return {name for name in members_of(record_type) if not hasattr(record_type, name)}


# Words that the specifications capitalise inside a name: containerID, execCPUAffinity, blockIO ...
_CAPITALS = {"id": "ID", "cpu": "CPU", "io": "IO", "iops": "IOPS", "tcp": "TCP", "oom": "OOM"}


def json_name(record_type: type[Record], member: str) -> str:
    """Return a member's JSON name: `uid_mappings` is `uidMappings`, `host_id` is `hostID`."""
    special = record_type.json_names.get(member)
    if special:
        return special
    first, *rest = member.split("_")
    return first + "".join(_CAPITALS.get(word) or word.capitalize() for word in rest)


def replaced(record: _R, **changes: object) -> _R:
    """Return a copy of a record with some members changed."""
    copy: Callable[..., _R] = type(record)
    return copy(**{**record.__dict__, **changes})


if TYPE_CHECKING:
    from typing import TypeVar

    _R = TypeVar("_R", bound=Record)
