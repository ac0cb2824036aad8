"""Generated from any.proto, empty.proto, field_mask.proto, timestamp.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BYTES, INT, INT32, STRING, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Any(Message):
    """google.protobuf.Any."""

    NAME = "google.protobuf.Any"

    type_url: str = ""
    value: bytes = b""

    FIELDS = (
        (1, "type_url", STRING),
        (2, "value", BYTES),
    )


class Timestamp(Message):
    """google.protobuf.Timestamp."""

    NAME = "google.protobuf.Timestamp"

    seconds: int = 0
    nanos: int = 0

    FIELDS = (
        (1, "seconds", INT),
        (2, "nanos", INT32),
    )


class Empty(Message):
    """google.protobuf.Empty."""

    NAME = "google.protobuf.Empty"



class FieldMask(Message):
    """google.protobuf.FieldMask."""

    NAME = "google.protobuf.FieldMask"

    paths: Sequence[str] = ()

    FIELDS = (
        (1, "paths", [STRING]),
    )
