"""Generated from types.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import EMPTY_MAP, INT, STRING, Message
from runwasi.wire.messages.well_known import Any
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Mount(Message):
    """containerd.types.Mount."""

    NAME = "containerd.types.Mount"

    type: str = ""
    source: str = ""
    target: str = ""
    options: Sequence[str] = ()

    FIELDS = (
        (1, "type", STRING),
        (2, "source", STRING),
        (3, "target", STRING),
        (4, "options", [STRING]),
    )


class Envelope(Message):
    """containerd.types.Envelope."""

    NAME = "containerd.types.Envelope"

    timestamp: Timestamp | None = None
    namespace: str = ""
    topic: str = ""
    event: Any | None = None

    FIELDS = (
        (1, "timestamp", Timestamp),
        (2, "namespace", STRING),
        (3, "topic", STRING),
        (4, "event", Any),
    )


class Platform(Message):
    """containerd.types.Platform."""

    NAME = "containerd.types.Platform"

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: Sequence[str] = ()

    FIELDS = (
        (1, "os", STRING),
        (2, "architecture", STRING),
        (3, "variant", STRING),
        (4, "os_version", STRING),
        (5, "os_features", [STRING]),
    )


class Metric(Message):
    """containerd.types.Metric."""

    NAME = "containerd.types.Metric"

    timestamp: Timestamp | None = None
    id: str = ""
    data: Any | None = None

    FIELDS = (
        (1, "timestamp", Timestamp),
        (2, "id", STRING),
        (3, "data", Any),
    )


class Descriptor(Message):
    """containerd.types.Descriptor."""

    NAME = "containerd.types.Descriptor"

    media_type: str = ""
    digest: str = ""
    size: int = 0
    annotations: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "media_type", STRING),
        (2, "digest", STRING),
        (3, "size", INT),
        (5, "annotations", {STRING: STRING}),
    )


class RuntimeVersion(Message):
    """containerd.types.RuntimeVersion."""

    NAME = "containerd.types.RuntimeVersion"

    version: str = ""
    revision: str = ""

    FIELDS = (
        (1, "version", STRING),
        (2, "revision", STRING),
    )


class RuntimeInfo(Message):
    """containerd.types.RuntimeInfo."""

    NAME = "containerd.types.RuntimeInfo"

    name: str = ""
    version: RuntimeVersion | None = None
    options: Any | None = None
    features: Any | None = None
    annotations: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "name", STRING),
        (2, "version", RuntimeVersion),
        (3, "options", Any),
        (4, "features", Any),
        (5, "annotations", {STRING: STRING}),
    )
