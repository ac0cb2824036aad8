"""The state document of a container, for callers and for the standard input of hooks.

Source: runtime-spec runtime.md#state, and config-linux.md#containerprocessstate for seccomp listeners.
"""

from __future__ import annotations

from runwasi.oci.encode import dumps
from runwasi.oci.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Annotated, Literal, TypeAlias

# `paused` is an addition, which runtime.md#state allows; runc has it too.
Status: TypeAlias = "Literal['creating', 'created', 'running', 'stopped', 'paused']"
Pid: TypeAlias = "Annotated[int, 0, 4194304]"  # PID_MAX_LIMIT, man 5 proc_sys_kernel


class State(Record):
    """The state of a container; `pid` is 0 if it has no process."""

    oci_version: str
    id: str
    status: Status
    pid: Pid = 0
    bundle: str
    annotations: Mapping[str, str] = EMPTY

    def to_json(self, indent: str = "") -> str:
        """Return the JSON document."""
        return dumps(self, indent)


class ContainerProcessState(Record):
    """The message to a seccomp listener; `fds` names the descriptors that come with it, in order."""

    oci_version: str
    fds: tuple[str, ...]
    pid: Pid
    metadata: str | None = None
    state: State

    def to_json(self) -> str:
        """Return the JSON document."""
        return dumps(self)
