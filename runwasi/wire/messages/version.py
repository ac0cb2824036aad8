"""Generated from version.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import STRING, Message
from runwasi.wire.messages.well_known import Empty


class VersionResponse(Message):
    """containerd.services.version.v1.VersionResponse."""

    NAME = "containerd.services.version.v1.VersionResponse"

    version: str = ""
    revision: str = ""

    FIELDS = (
        (1, "version", STRING),
        (2, "revision", STRING),
    )


VERSION_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Version": (Empty, VersionResponse),
}
"""containerd.services.version.v1.Version: method -> request and answer."""
