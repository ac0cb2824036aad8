"""Generated from pod_sandbox.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import EMPTY_MAP, INT32, STRING, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# runtime.v1.NamespaceMode
POD = 0
CONTAINER = 1
NODE = 2
TARGET = 3


class NamespaceOption(Message):
    """runtime.v1.NamespaceOption."""

    NAME = "runtime.v1.NamespaceOption"

    network: int = 0
    pid: int = 0
    ipc: int = 0
    target_id: str = ""

    FIELDS = (
        (1, "network", INT32),
        (2, "pid", INT32),
        (3, "ipc", INT32),
        (4, "target_id", STRING),
    )


class LinuxSandboxSecurityContext(Message):
    """runtime.v1.LinuxSandboxSecurityContext."""

    NAME = "runtime.v1.LinuxSandboxSecurityContext"

    namespace_options: NamespaceOption | None = None

    FIELDS = (
        (1, "namespace_options", NamespaceOption),
    )


class LinuxPodSandboxConfig(Message):
    """runtime.v1.LinuxPodSandboxConfig."""

    NAME = "runtime.v1.LinuxPodSandboxConfig"

    cgroup_parent: str = ""
    security_context: LinuxSandboxSecurityContext | None = None
    sysctls: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "cgroup_parent", STRING),
        (2, "security_context", LinuxSandboxSecurityContext),
        (3, "sysctls", {STRING: STRING}),
    )


class PodSandboxConfig(Message):
    """runtime.v1.PodSandboxConfig."""

    NAME = "runtime.v1.PodSandboxConfig"

    hostname: str = ""
    labels: Mapping[str, str] = EMPTY_MAP
    annotations: Mapping[str, str] = EMPTY_MAP
    linux: LinuxPodSandboxConfig | None = None

    FIELDS = (
        (2, "hostname", STRING),
        (6, "labels", {STRING: STRING}),
        (7, "annotations", {STRING: STRING}),
        (8, "linux", LinuxPodSandboxConfig),
    )
