"""Generated from content.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BYTES, EMPTY_MAP, INT, INT32, STRING, Message
from runwasi.wire.messages.well_known import Empty
from runwasi.wire.messages.well_known import FieldMask
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# containerd.services.content.v1.WriteAction
STAT = 0
WRITE = 1
COMMIT = 2


class Info(Message):
    """containerd.services.content.v1.Info."""

    NAME = "containerd.services.content.v1.Info"

    digest: str = ""
    size: int = 0
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None
    labels: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "digest", STRING),
        (2, "size", INT),
        (3, "created_at", Timestamp),
        (4, "updated_at", Timestamp),
        (5, "labels", {STRING: STRING}),
    )


class InfoRequest(Message):
    """containerd.services.content.v1.InfoRequest."""

    NAME = "containerd.services.content.v1.InfoRequest"

    digest: str = ""

    FIELDS = (
        (1, "digest", STRING),
    )


class InfoResponse(Message):
    """containerd.services.content.v1.InfoResponse."""

    NAME = "containerd.services.content.v1.InfoResponse"

    info: Info | None = None

    FIELDS = (
        (1, "info", Info),
    )


class UpdateRequest(Message):
    """containerd.services.content.v1.UpdateRequest."""

    NAME = "containerd.services.content.v1.UpdateRequest"

    info: Info | None = None
    update_mask: FieldMask | None = None

    FIELDS = (
        (1, "info", Info),
        (2, "update_mask", FieldMask),
    )


class UpdateResponse(Message):
    """containerd.services.content.v1.UpdateResponse."""

    NAME = "containerd.services.content.v1.UpdateResponse"

    info: Info | None = None

    FIELDS = (
        (1, "info", Info),
    )


class ListContentRequest(Message):
    """containerd.services.content.v1.ListContentRequest."""

    NAME = "containerd.services.content.v1.ListContentRequest"

    filters: Sequence[str] = ()

    FIELDS = (
        (1, "filters", [STRING]),
    )


class ListContentResponse(Message):
    """containerd.services.content.v1.ListContentResponse."""

    NAME = "containerd.services.content.v1.ListContentResponse"

    info: Sequence[Info] = ()

    FIELDS = (
        (1, "info", [Info]),
    )


class DeleteContentRequest(Message):
    """containerd.services.content.v1.DeleteContentRequest."""

    NAME = "containerd.services.content.v1.DeleteContentRequest"

    digest: str = ""

    FIELDS = (
        (1, "digest", STRING),
    )


class ReadContentRequest(Message):
    """containerd.services.content.v1.ReadContentRequest."""

    NAME = "containerd.services.content.v1.ReadContentRequest"

    digest: str = ""
    offset: int = 0
    size: int = 0

    FIELDS = (
        (1, "digest", STRING),
        (2, "offset", INT),
        (3, "size", INT),
    )


class ReadContentResponse(Message):
    """containerd.services.content.v1.ReadContentResponse."""

    NAME = "containerd.services.content.v1.ReadContentResponse"

    offset: int = 0
    data: bytes = b""

    FIELDS = (
        (1, "offset", INT),
        (2, "data", BYTES),
    )


class WriteContentRequest(Message):
    """containerd.services.content.v1.WriteContentRequest."""

    NAME = "containerd.services.content.v1.WriteContentRequest"

    action: int = 0
    ref: str = ""
    total: int = 0
    expected: str = ""
    offset: int = 0
    data: bytes = b""
    labels: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "action", INT32),
        (2, "ref", STRING),
        (3, "total", INT),
        (4, "expected", STRING),
        (5, "offset", INT),
        (6, "data", BYTES),
        (7, "labels", {STRING: STRING}),
    )


class WriteContentResponse(Message):
    """containerd.services.content.v1.WriteContentResponse."""

    NAME = "containerd.services.content.v1.WriteContentResponse"

    action: int = 0
    started_at: Timestamp | None = None
    updated_at: Timestamp | None = None
    offset: int = 0
    total: int = 0
    digest: str = ""

    FIELDS = (
        (1, "action", INT32),
        (2, "started_at", Timestamp),
        (3, "updated_at", Timestamp),
        (4, "offset", INT),
        (5, "total", INT),
        (6, "digest", STRING),
    )


class AbortRequest(Message):
    """containerd.services.content.v1.AbortRequest."""

    NAME = "containerd.services.content.v1.AbortRequest"

    ref: str = ""

    FIELDS = (
        (1, "ref", STRING),
    )


CONTENT_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Info": (InfoRequest, InfoResponse),
    "Update": (UpdateRequest, UpdateResponse),
    "List": (ListContentRequest, ListContentResponse),
    "Delete": (DeleteContentRequest, Empty),
    "Read": (ReadContentRequest, ReadContentResponse),
    "Write": (WriteContentRequest, WriteContentResponse),
    "Abort": (AbortRequest, Empty),
}
"""containerd.services.content.v1.Content: method -> request and answer."""
