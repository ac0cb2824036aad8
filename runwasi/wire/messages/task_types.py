"""Generated from task_types.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import UINT, Message
from runwasi.wire.messages.well_known import Any

# containerd.v1.types.Status
UNKNOWN = 0
CREATED = 1
RUNNING = 2
STOPPED = 3
PAUSED = 4
PAUSING = 5


class ProcessInfo(Message):
    """containerd.v1.types.ProcessInfo."""

    NAME = "containerd.v1.types.ProcessInfo"

    pid: int = 0
    info: Any | None = None

    FIELDS = (
        (1, "pid", UINT),
        (2, "info", Any),
    )
