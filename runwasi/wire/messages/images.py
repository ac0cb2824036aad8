"""Generated from images.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import EMPTY_MAP, STRING, Message
from runwasi.wire.messages.types import Descriptor
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Image(Message):
    """containerd.services.images.v1.Image."""

    NAME = "containerd.services.images.v1.Image"

    name: str = ""
    labels: Mapping[str, str] = EMPTY_MAP
    target: Descriptor | None = None
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None

    FIELDS = (
        (1, "name", STRING),
        (2, "labels", {STRING: STRING}),
        (3, "target", Descriptor),
        (7, "created_at", Timestamp),
        (8, "updated_at", Timestamp),
    )


class GetImageRequest(Message):
    """containerd.services.images.v1.GetImageRequest."""

    NAME = "containerd.services.images.v1.GetImageRequest"

    name: str = ""

    FIELDS = (
        (1, "name", STRING),
    )


class GetImageResponse(Message):
    """containerd.services.images.v1.GetImageResponse."""

    NAME = "containerd.services.images.v1.GetImageResponse"

    image: Image | None = None

    FIELDS = (
        (1, "image", Image),
    )


IMAGES_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Get": (GetImageRequest, GetImageResponse),
}
"""containerd.services.images.v1.Images: method -> request and answer."""
