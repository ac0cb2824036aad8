"""Defines the statuses of a container, and what each of them allows."""

from __future__ import annotations

from runwasi.executor.errors import WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Status = Literal["creating", "created", "running", "paused", "stopped"]

ALLOWED: dict[str, tuple[Status, ...]] = {
    "start": ("created",),
    "kill": ("created", "running", "paused"),
    "exec": ("created", "running"),
    "pause": ("created", "running"),
    "resume": ("paused",),
    "update": ("created", "running", "paused"),
    "delete": ("stopped",),
    "checkpoint": ("running", "paused"),
    "ps": ("created", "running", "paused", "stopped"),
    "events": ("created", "running", "paused"),
}
"""Operation -> the statuses it may be asked in (runtime-spec runtime.md#operations, and runc for the rest)."""

_REASONS: dict[tuple[str, Status], str] = {
    ("start", "running"): "cannot start an already running container",
    ("start", "paused"): "cannot start a paused container",
    ("start", "stopped"): "cannot start a container that has stopped",
    ("kill", "stopped"): "container not running",
    ("exec", "stopped"): "cannot exec in a stopped container",
    ("exec", "paused"): "cannot exec in a paused container (use --ignore-paused to override)",
    ("pause", "stopped"): "container not running",
    ("pause", "paused"): "container is already paused",
    ("resume", "stopped"): "container not running",
    ("resume", "running"): "container not paused",
    ("resume", "created"): "container not paused",
    ("update", "stopped"): "container not running",
    ("checkpoint", "stopped"): "container not running",
    ("events", "stopped"): "container not running",
}
"""The words runc uses, which scripts and kubelet have learnt."""


def require(operation: str, container_id: str, status: Status) -> None:
    """Raise WrongStatus unless ALLOWED has the container's status for the operation."""
    if status in ALLOWED[operation]:
        return
    reason = _REASONS.get((operation, status))
    if reason is None:
        needed = " or ".join(ALLOWED[operation])
        reason = f"cannot {operation} container {container_id} that is not {needed}: {status}"
    raise WrongStatus(reason)
