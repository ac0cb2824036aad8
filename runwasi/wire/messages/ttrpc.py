"""Generated from ttrpc.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BYTES, INT, STRING, Message
from runwasi.wire.messages.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class KeyValue(Message):
    """ttrpc.KeyValue."""

    NAME = "ttrpc.KeyValue"

    key: str = ""
    value: str = ""

    FIELDS = (
        (1, "key", STRING),
        (2, "value", STRING),
    )


class Request(Message):
    """ttrpc.Request."""

    NAME = "ttrpc.Request"

    service: str = ""
    method: str = ""
    payload: bytes = b""
    timeout_nano: int = 0
    metadata: Sequence[KeyValue] = ()

    FIELDS = (
        (1, "service", STRING),
        (2, "method", STRING),
        (3, "payload", BYTES),
        (4, "timeout_nano", INT),
        (5, "metadata", [KeyValue]),
    )


class Response(Message):
    """ttrpc.Response."""

    NAME = "ttrpc.Response"

    status: Status | None = None
    payload: bytes = b""

    FIELDS = (
        (1, "status", Status),
        (2, "payload", BYTES),
    )
