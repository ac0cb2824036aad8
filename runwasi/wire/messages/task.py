"""Generated from task.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BOOL, EMPTY_MAP, INT32, STRING, UINT, Message
from runwasi.wire.messages.task_types import ProcessInfo
from runwasi.wire.messages.types import Mount
from runwasi.wire.messages.well_known import Any
from runwasi.wire.messages.well_known import Empty
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CreateTaskRequest(Message):
    """containerd.task.v3.CreateTaskRequest."""

    NAME = "containerd.task.v3.CreateTaskRequest"

    id: str = ""
    bundle: str = ""
    rootfs: Sequence[Mount] = ()
    terminal: bool = False
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    checkpoint: str = ""
    parent_checkpoint: str = ""
    options: Any | None = None

    FIELDS = (
        (1, "id", STRING),
        (2, "bundle", STRING),
        (3, "rootfs", [Mount]),
        (4, "terminal", BOOL),
        (5, "stdin", STRING),
        (6, "stdout", STRING),
        (7, "stderr", STRING),
        (8, "checkpoint", STRING),
        (9, "parent_checkpoint", STRING),
        (10, "options", Any),
    )


class CreateTaskResponse(Message):
    """containerd.task.v3.CreateTaskResponse."""

    NAME = "containerd.task.v3.CreateTaskResponse"

    pid: int = 0

    FIELDS = (
        (1, "pid", UINT),
    )


class DeleteRequest(Message):
    """containerd.task.v3.DeleteRequest."""

    NAME = "containerd.task.v3.DeleteRequest"

    id: str = ""
    exec_id: str = ""

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
    )


class DeleteResponse(Message):
    """containerd.task.v3.DeleteResponse."""

    NAME = "containerd.task.v3.DeleteResponse"

    pid: int = 0
    exit_status: int = 0
    exited_at: Timestamp | None = None

    FIELDS = (
        (1, "pid", UINT),
        (2, "exit_status", UINT),
        (3, "exited_at", Timestamp),
    )


class ExecProcessRequest(Message):
    """containerd.task.v3.ExecProcessRequest."""

    NAME = "containerd.task.v3.ExecProcessRequest"

    id: str = ""
    exec_id: str = ""
    terminal: bool = False
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    spec: Any | None = None

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
        (3, "terminal", BOOL),
        (4, "stdin", STRING),
        (5, "stdout", STRING),
        (6, "stderr", STRING),
        (7, "spec", Any),
    )


class ResizePtyRequest(Message):
    """containerd.task.v3.ResizePtyRequest."""

    NAME = "containerd.task.v3.ResizePtyRequest"

    id: str = ""
    exec_id: str = ""
    width: int = 0
    height: int = 0

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
        (3, "width", UINT),
        (4, "height", UINT),
    )


class StateRequest(Message):
    """containerd.task.v3.StateRequest."""

    NAME = "containerd.task.v3.StateRequest"

    id: str = ""
    exec_id: str = ""

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
    )


class StateResponse(Message):
    """containerd.task.v3.StateResponse."""

    NAME = "containerd.task.v3.StateResponse"

    id: str = ""
    bundle: str = ""
    pid: int = 0
    status: int = 0
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False
    exit_status: int = 0
    exited_at: Timestamp | None = None
    exec_id: str = ""

    FIELDS = (
        (1, "id", STRING),
        (2, "bundle", STRING),
        (3, "pid", UINT),
        (4, "status", INT32),
        (5, "stdin", STRING),
        (6, "stdout", STRING),
        (7, "stderr", STRING),
        (8, "terminal", BOOL),
        (9, "exit_status", UINT),
        (10, "exited_at", Timestamp),
        (11, "exec_id", STRING),
    )


class KillRequest(Message):
    """containerd.task.v3.KillRequest."""

    NAME = "containerd.task.v3.KillRequest"

    id: str = ""
    exec_id: str = ""
    signal: int = 0
    all: bool = False

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
        (3, "signal", UINT),
        (4, "all", BOOL),
    )


class CloseIORequest(Message):
    """containerd.task.v3.CloseIORequest."""

    NAME = "containerd.task.v3.CloseIORequest"

    id: str = ""
    exec_id: str = ""
    stdin: bool = False

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
        (3, "stdin", BOOL),
    )


class PidsRequest(Message):
    """containerd.task.v3.PidsRequest."""

    NAME = "containerd.task.v3.PidsRequest"

    id: str = ""

    FIELDS = (
        (1, "id", STRING),
    )


class PidsResponse(Message):
    """containerd.task.v3.PidsResponse."""

    NAME = "containerd.task.v3.PidsResponse"

    processes: Sequence[ProcessInfo] = ()

    FIELDS = (
        (1, "processes", [ProcessInfo]),
    )


class CheckpointTaskRequest(Message):
    """containerd.task.v3.CheckpointTaskRequest."""

    NAME = "containerd.task.v3.CheckpointTaskRequest"

    id: str = ""
    path: str = ""
    options: Any | None = None

    FIELDS = (
        (1, "id", STRING),
        (2, "path", STRING),
        (3, "options", Any),
    )


class UpdateTaskRequest(Message):
    """containerd.task.v3.UpdateTaskRequest."""

    NAME = "containerd.task.v3.UpdateTaskRequest"

    id: str = ""
    resources: Any | None = None
    annotations: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "id", STRING),
        (2, "resources", Any),
        (3, "annotations", {STRING: STRING}),
    )


class StartRequest(Message):
    """containerd.task.v3.StartRequest."""

    NAME = "containerd.task.v3.StartRequest"

    id: str = ""
    exec_id: str = ""

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
    )


class StartResponse(Message):
    """containerd.task.v3.StartResponse."""

    NAME = "containerd.task.v3.StartResponse"

    pid: int = 0

    FIELDS = (
        (1, "pid", UINT),
    )


class WaitRequest(Message):
    """containerd.task.v3.WaitRequest."""

    NAME = "containerd.task.v3.WaitRequest"

    id: str = ""
    exec_id: str = ""

    FIELDS = (
        (1, "id", STRING),
        (2, "exec_id", STRING),
    )


class WaitResponse(Message):
    """containerd.task.v3.WaitResponse."""

    NAME = "containerd.task.v3.WaitResponse"

    exit_status: int = 0
    exited_at: Timestamp | None = None

    FIELDS = (
        (1, "exit_status", UINT),
        (2, "exited_at", Timestamp),
    )


class StatsRequest(Message):
    """containerd.task.v3.StatsRequest."""

    NAME = "containerd.task.v3.StatsRequest"

    id: str = ""

    FIELDS = (
        (1, "id", STRING),
    )


class StatsResponse(Message):
    """containerd.task.v3.StatsResponse."""

    NAME = "containerd.task.v3.StatsResponse"

    stats: Any | None = None

    FIELDS = (
        (1, "stats", Any),
    )


class ConnectRequest(Message):
    """containerd.task.v3.ConnectRequest."""

    NAME = "containerd.task.v3.ConnectRequest"

    id: str = ""

    FIELDS = (
        (1, "id", STRING),
    )


class ConnectResponse(Message):
    """containerd.task.v3.ConnectResponse."""

    NAME = "containerd.task.v3.ConnectResponse"

    shim_pid: int = 0
    task_pid: int = 0
    version: str = ""

    FIELDS = (
        (1, "shim_pid", UINT),
        (2, "task_pid", UINT),
        (3, "version", STRING),
    )


class ShutdownRequest(Message):
    """containerd.task.v3.ShutdownRequest."""

    NAME = "containerd.task.v3.ShutdownRequest"

    id: str = ""
    now: bool = False

    FIELDS = (
        (1, "id", STRING),
        (2, "now", BOOL),
    )


class PauseRequest(Message):
    """containerd.task.v3.PauseRequest."""

    NAME = "containerd.task.v3.PauseRequest"

    id: str = ""

    FIELDS = (
        (1, "id", STRING),
    )


class ResumeRequest(Message):
    """containerd.task.v3.ResumeRequest."""

    NAME = "containerd.task.v3.ResumeRequest"

    id: str = ""

    FIELDS = (
        (1, "id", STRING),
    )


TASK_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "State": (StateRequest, StateResponse),
    "Create": (CreateTaskRequest, CreateTaskResponse),
    "Start": (StartRequest, StartResponse),
    "Delete": (DeleteRequest, DeleteResponse),
    "Pids": (PidsRequest, PidsResponse),
    "Pause": (PauseRequest, Empty),
    "Resume": (ResumeRequest, Empty),
    "Checkpoint": (CheckpointTaskRequest, Empty),
    "Kill": (KillRequest, Empty),
    "Exec": (ExecProcessRequest, Empty),
    "ResizePty": (ResizePtyRequest, Empty),
    "CloseIO": (CloseIORequest, Empty),
    "Update": (UpdateTaskRequest, Empty),
    "Wait": (WaitRequest, WaitResponse),
    "Stats": (StatsRequest, StatsResponse),
    "Connect": (ConnectRequest, ConnectResponse),
    "Shutdown": (ShutdownRequest, Empty),
}
"""containerd.task.v3.Task: method -> request and answer."""
