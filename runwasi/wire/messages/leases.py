"""Generated from leases.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BOOL, EMPTY_MAP, STRING, Message
from runwasi.wire.messages.well_known import Empty
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Lease(Message):
    """containerd.services.leases.v1.Lease."""

    NAME = "containerd.services.leases.v1.Lease"

    id: str = ""
    created_at: Timestamp | None = None
    labels: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "id", STRING),
        (2, "created_at", Timestamp),
        (3, "labels", {STRING: STRING}),
    )


class CreateRequest(Message):
    """containerd.services.leases.v1.CreateRequest."""

    NAME = "containerd.services.leases.v1.CreateRequest"

    id: str = ""
    labels: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "id", STRING),
        (3, "labels", {STRING: STRING}),
    )


class CreateResponse(Message):
    """containerd.services.leases.v1.CreateResponse."""

    NAME = "containerd.services.leases.v1.CreateResponse"

    lease: Lease | None = None

    FIELDS = (
        (1, "lease", Lease),
    )


class DeleteRequest(Message):
    """containerd.services.leases.v1.DeleteRequest."""

    NAME = "containerd.services.leases.v1.DeleteRequest"

    id: str = ""
    sync: bool = False

    FIELDS = (
        (1, "id", STRING),
        (2, "sync", BOOL),
    )


class ListRequest(Message):
    """containerd.services.leases.v1.ListRequest."""

    NAME = "containerd.services.leases.v1.ListRequest"

    filters: Sequence[str] = ()

    FIELDS = (
        (1, "filters", [STRING]),
    )


class ListResponse(Message):
    """containerd.services.leases.v1.ListResponse."""

    NAME = "containerd.services.leases.v1.ListResponse"

    leases: Sequence[Lease] = ()

    FIELDS = (
        (1, "leases", [Lease]),
    )


class Resource(Message):
    """containerd.services.leases.v1.Resource."""

    NAME = "containerd.services.leases.v1.Resource"

    id: str = ""
    type: str = ""

    FIELDS = (
        (1, "id", STRING),
        (2, "type", STRING),
    )


class AddResourceRequest(Message):
    """containerd.services.leases.v1.AddResourceRequest."""

    NAME = "containerd.services.leases.v1.AddResourceRequest"

    id: str = ""
    resource: Resource | None = None

    FIELDS = (
        (1, "id", STRING),
        (2, "resource", Resource),
    )


LEASES_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Create": (CreateRequest, CreateResponse),
    "Delete": (DeleteRequest, Empty),
    "List": (ListRequest, ListResponse),
    "AddResource": (AddResourceRequest, Empty),
}
"""containerd.services.leases.v1.Leases: method -> request and answer."""
