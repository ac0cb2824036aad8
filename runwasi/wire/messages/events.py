"""Generated from events.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BOOL, STRING, UINT, Message
from runwasi.wire.messages.types import Mount
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class TaskIO(Message):
    """containerd.events.TaskIO."""

    NAME = "containerd.events.TaskIO"

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False

    FIELDS = (
        (1, "stdin", STRING),
        (2, "stdout", STRING),
        (3, "stderr", STRING),
        (4, "terminal", BOOL),
    )


class TaskCreate(Message):
    """containerd.events.TaskCreate."""

    NAME = "containerd.events.TaskCreate"

    container_id: str = ""
    bundle: str = ""
    rootfs: Sequence[Mount] = ()
    io: TaskIO | None = None
    checkpoint: str = ""
    pid: int = 0

    FIELDS = (
        (1, "container_id", STRING),
        (2, "bundle", STRING),
        (3, "rootfs", [Mount]),
        (4, "io", TaskIO),
        (5, "checkpoint", STRING),
        (6, "pid", UINT),
    )


class TaskStart(Message):
    """containerd.events.TaskStart."""

    NAME = "containerd.events.TaskStart"

    container_id: str = ""
    pid: int = 0

    FIELDS = (
        (1, "container_id", STRING),
        (2, "pid", UINT),
    )


class TaskDelete(Message):
    """containerd.events.TaskDelete."""

    NAME = "containerd.events.TaskDelete"

    container_id: str = ""
    pid: int = 0
    exit_status: int = 0
    exited_at: Timestamp | None = None
    id: str = ""

    FIELDS = (
        (1, "container_id", STRING),
        (2, "pid", UINT),
        (3, "exit_status", UINT),
        (4, "exited_at", Timestamp),
        (5, "id", STRING),
    )


class TaskExit(Message):
    """containerd.events.TaskExit."""

    NAME = "containerd.events.TaskExit"

    container_id: str = ""
    id: str = ""
    pid: int = 0
    exit_status: int = 0
    exited_at: Timestamp | None = None

    FIELDS = (
        (1, "container_id", STRING),
        (2, "id", STRING),
        (3, "pid", UINT),
        (4, "exit_status", UINT),
        (5, "exited_at", Timestamp),
    )


class TaskOOM(Message):
    """containerd.events.TaskOOM."""

    NAME = "containerd.events.TaskOOM"

    container_id: str = ""

    FIELDS = (
        (1, "container_id", STRING),
    )


class TaskExecAdded(Message):
    """containerd.events.TaskExecAdded."""

    NAME = "containerd.events.TaskExecAdded"

    container_id: str = ""
    exec_id: str = ""

    FIELDS = (
        (1, "container_id", STRING),
        (2, "exec_id", STRING),
    )


class TaskExecStarted(Message):
    """containerd.events.TaskExecStarted."""

    NAME = "containerd.events.TaskExecStarted"

    container_id: str = ""
    exec_id: str = ""
    pid: int = 0

    FIELDS = (
        (1, "container_id", STRING),
        (2, "exec_id", STRING),
        (3, "pid", UINT),
    )


class TaskPaused(Message):
    """containerd.events.TaskPaused."""

    NAME = "containerd.events.TaskPaused"

    container_id: str = ""

    FIELDS = (
        (1, "container_id", STRING),
    )


class TaskResumed(Message):
    """containerd.events.TaskResumed."""

    NAME = "containerd.events.TaskResumed"

    container_id: str = ""

    FIELDS = (
        (1, "container_id", STRING),
    )


class TaskCheckpointed(Message):
    """containerd.events.TaskCheckpointed."""

    NAME = "containerd.events.TaskCheckpointed"

    container_id: str = ""
    checkpoint: str = ""

    FIELDS = (
        (1, "container_id", STRING),
        (2, "checkpoint", STRING),
    )
