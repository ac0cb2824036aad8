"""Generated from bootstrap.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import INT32, STRING, Message
from runwasi.wire.messages.well_known import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Extension(Message):
    """containerd.runtime.bootstrap.v1.Extension."""

    NAME = "containerd.runtime.bootstrap.v1.Extension"

    value: Any | None = None

    FIELDS = (
        (1, "value", Any),
    )


class BootstrapParams(Message):
    """containerd.runtime.bootstrap.v1.BootstrapParams."""

    NAME = "containerd.runtime.bootstrap.v1.BootstrapParams"

    instance_id: str = ""
    namespace: str = ""
    log_level: int = 0
    containerd_version: str = ""
    containerd_ttrpc_address: str = ""
    containerd_grpc_address: str = ""
    containerd_binary: str = ""
    extensions: Sequence[Extension] = ()
    socket_dir: str = ""

    FIELDS = (
        (1, "instance_id", STRING),
        (2, "namespace", STRING),
        (3, "log_level", INT32),
        (4, "containerd_version", STRING),
        (5, "containerd_ttrpc_address", STRING),
        (6, "containerd_grpc_address", STRING),
        (7, "containerd_binary", STRING),
        (8, "extensions", [Extension]),
        (9, "socket_dir", STRING),
    )


class BootstrapResult(Message):
    """containerd.runtime.bootstrap.v1.BootstrapResult."""

    NAME = "containerd.runtime.bootstrap.v1.BootstrapResult"

    version: int = 0
    address: str = ""
    protocol: str = ""

    FIELDS = (
        (1, "version", INT32),
        (2, "address", STRING),
        (3, "protocol", STRING),
    )
