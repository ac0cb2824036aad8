"""Generated from containers.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import EMPTY_MAP, STRING, Message
from runwasi.wire.messages.well_known import Any
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Runtime(Message):
    """containerd.services.containers.v1.Container.Runtime."""

    NAME = "containerd.services.containers.v1.Container.Runtime"

    name: str = ""
    options: Any | None = None

    FIELDS = (
        (1, "name", STRING),
        (2, "options", Any),
    )


class Container(Message):
    """containerd.services.containers.v1.Container."""

    NAME = "containerd.services.containers.v1.Container"

    id: str = ""
    labels: Mapping[str, str] = EMPTY_MAP
    image: str = ""
    runtime: Runtime | None = None
    spec: Any | None = None
    snapshotter: str = ""
    snapshot_key: str = ""
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None
    extensions: Mapping[str, Any] = EMPTY_MAP
    sandbox: str = ""

    FIELDS = (
        (1, "id", STRING),
        (2, "labels", {STRING: STRING}),
        (3, "image", STRING),
        (4, "runtime", Runtime),
        (5, "spec", Any),
        (6, "snapshotter", STRING),
        (7, "snapshot_key", STRING),
        (8, "created_at", Timestamp),
        (9, "updated_at", Timestamp),
        (10, "extensions", {STRING: Any}),
        (11, "sandbox", STRING),
    )


class GetContainerRequest(Message):
    """containerd.services.containers.v1.GetContainerRequest."""

    NAME = "containerd.services.containers.v1.GetContainerRequest"

    id: str = ""

    FIELDS = (
        (1, "id", STRING),
    )


class GetContainerResponse(Message):
    """containerd.services.containers.v1.GetContainerResponse."""

    NAME = "containerd.services.containers.v1.GetContainerResponse"

    container: Container | None = None

    FIELDS = (
        (1, "container", Container),
    )


CONTAINERS_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Get": (GetContainerRequest, GetContainerResponse),
}
"""containerd.services.containers.v1.Containers: method -> request and answer."""
