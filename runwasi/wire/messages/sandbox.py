"""Generated from sandbox.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BOOL, EMPTY_MAP, STRING, UINT, Message
from runwasi.wire.messages.types import Metric
from runwasi.wire.messages.types import Mount
from runwasi.wire.messages.types import Platform
from runwasi.wire.messages.well_known import Any
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CreateSandboxRequest(Message):
    """containerd.runtime.sandbox.v1.CreateSandboxRequest."""

    NAME = "containerd.runtime.sandbox.v1.CreateSandboxRequest"

    sandbox_id: str = ""
    bundle_path: str = ""
    rootfs: Sequence[Mount] = ()
    options: Any | None = None
    netns_path: str = ""
    annotations: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "sandbox_id", STRING),
        (2, "bundle_path", STRING),
        (3, "rootfs", [Mount]),
        (4, "options", Any),
        (5, "netns_path", STRING),
        (6, "annotations", {STRING: STRING}),
    )


class CreateSandboxResponse(Message):
    """containerd.runtime.sandbox.v1.CreateSandboxResponse."""

    NAME = "containerd.runtime.sandbox.v1.CreateSandboxResponse"



class StartSandboxRequest(Message):
    """containerd.runtime.sandbox.v1.StartSandboxRequest."""

    NAME = "containerd.runtime.sandbox.v1.StartSandboxRequest"

    sandbox_id: str = ""

    FIELDS = (
        (1, "sandbox_id", STRING),
    )


class StartSandboxResponse(Message):
    """containerd.runtime.sandbox.v1.StartSandboxResponse."""

    NAME = "containerd.runtime.sandbox.v1.StartSandboxResponse"

    pid: int = 0
    created_at: Timestamp | None = None
    spec: Any | None = None

    FIELDS = (
        (1, "pid", UINT),
        (2, "created_at", Timestamp),
        (3, "spec", Any),
    )


class PlatformRequest(Message):
    """containerd.runtime.sandbox.v1.PlatformRequest."""

    NAME = "containerd.runtime.sandbox.v1.PlatformRequest"

    sandbox_id: str = ""

    FIELDS = (
        (1, "sandbox_id", STRING),
    )


class PlatformResponse(Message):
    """containerd.runtime.sandbox.v1.PlatformResponse."""

    NAME = "containerd.runtime.sandbox.v1.PlatformResponse"

    platform: Platform | None = None

    FIELDS = (
        (1, "platform", Platform),
    )


class StopSandboxRequest(Message):
    """containerd.runtime.sandbox.v1.StopSandboxRequest."""

    NAME = "containerd.runtime.sandbox.v1.StopSandboxRequest"

    sandbox_id: str = ""
    timeout_secs: int = 0

    FIELDS = (
        (1, "sandbox_id", STRING),
        (2, "timeout_secs", UINT),
    )


class StopSandboxResponse(Message):
    """containerd.runtime.sandbox.v1.StopSandboxResponse."""

    NAME = "containerd.runtime.sandbox.v1.StopSandboxResponse"



class WaitSandboxRequest(Message):
    """containerd.runtime.sandbox.v1.WaitSandboxRequest."""

    NAME = "containerd.runtime.sandbox.v1.WaitSandboxRequest"

    sandbox_id: str = ""

    FIELDS = (
        (1, "sandbox_id", STRING),
    )


class WaitSandboxResponse(Message):
    """containerd.runtime.sandbox.v1.WaitSandboxResponse."""

    NAME = "containerd.runtime.sandbox.v1.WaitSandboxResponse"

    exit_status: int = 0
    exited_at: Timestamp | None = None

    FIELDS = (
        (1, "exit_status", UINT),
        (2, "exited_at", Timestamp),
    )


class SandboxStatusRequest(Message):
    """containerd.runtime.sandbox.v1.SandboxStatusRequest."""

    NAME = "containerd.runtime.sandbox.v1.SandboxStatusRequest"

    sandbox_id: str = ""
    verbose: bool = False

    FIELDS = (
        (1, "sandbox_id", STRING),
        (2, "verbose", BOOL),
    )


class SandboxStatusResponse(Message):
    """containerd.runtime.sandbox.v1.SandboxStatusResponse."""

    NAME = "containerd.runtime.sandbox.v1.SandboxStatusResponse"

    sandbox_id: str = ""
    pid: int = 0
    state: str = ""
    info: Mapping[str, str] = EMPTY_MAP
    created_at: Timestamp | None = None
    exited_at: Timestamp | None = None
    extra: Any | None = None

    FIELDS = (
        (1, "sandbox_id", STRING),
        (2, "pid", UINT),
        (3, "state", STRING),
        (4, "info", {STRING: STRING}),
        (5, "created_at", Timestamp),
        (6, "exited_at", Timestamp),
        (7, "extra", Any),
    )


class PingRequest(Message):
    """containerd.runtime.sandbox.v1.PingRequest."""

    NAME = "containerd.runtime.sandbox.v1.PingRequest"

    sandbox_id: str = ""

    FIELDS = (
        (1, "sandbox_id", STRING),
    )


class PingResponse(Message):
    """containerd.runtime.sandbox.v1.PingResponse."""

    NAME = "containerd.runtime.sandbox.v1.PingResponse"



class ShutdownSandboxRequest(Message):
    """containerd.runtime.sandbox.v1.ShutdownSandboxRequest."""

    NAME = "containerd.runtime.sandbox.v1.ShutdownSandboxRequest"

    sandbox_id: str = ""

    FIELDS = (
        (1, "sandbox_id", STRING),
    )


class ShutdownSandboxResponse(Message):
    """containerd.runtime.sandbox.v1.ShutdownSandboxResponse."""

    NAME = "containerd.runtime.sandbox.v1.ShutdownSandboxResponse"



class SandboxMetricsRequest(Message):
    """containerd.runtime.sandbox.v1.SandboxMetricsRequest."""

    NAME = "containerd.runtime.sandbox.v1.SandboxMetricsRequest"

    sandbox_id: str = ""

    FIELDS = (
        (1, "sandbox_id", STRING),
    )


class SandboxMetricsResponse(Message):
    """containerd.runtime.sandbox.v1.SandboxMetricsResponse."""

    NAME = "containerd.runtime.sandbox.v1.SandboxMetricsResponse"

    metrics: Metric | None = None

    FIELDS = (
        (1, "metrics", Metric),
    )


SANDBOX_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "CreateSandbox": (CreateSandboxRequest, CreateSandboxResponse),
    "StartSandbox": (StartSandboxRequest, StartSandboxResponse),
    "Platform": (PlatformRequest, PlatformResponse),
    "StopSandbox": (StopSandboxRequest, StopSandboxResponse),
    "WaitSandbox": (WaitSandboxRequest, WaitSandboxResponse),
    "SandboxStatus": (SandboxStatusRequest, SandboxStatusResponse),
    "PingSandbox": (PingRequest, PingResponse),
    "ShutdownSandbox": (ShutdownSandboxRequest, ShutdownSandboxResponse),
    "SandboxMetrics": (SandboxMetricsRequest, SandboxMetricsResponse),
}
"""containerd.runtime.sandbox.v1.Sandbox: method -> request and answer."""
