"""Generated from status.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import INT32, STRING, Message
from runwasi.wire.messages.well_known import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Status(Message):
    """google.rpc.Status."""

    NAME = "google.rpc.Status"

    code: int = 0
    message: str = ""
    details: Sequence[Any] = ()

    FIELDS = (
        (1, "code", INT32),
        (2, "message", STRING),
        (3, "details", [Any]),
    )
