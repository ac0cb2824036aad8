"""Says why a container's process may have ended before its program ran, as far as its configuration tells."""

from __future__ import annotations

from runwasi.executor.errors import ContainerError
from runwasi.startup.thin_signal import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.oci.spec import Spec

_FILTERED = "; $.linux.seccomp may forbid what it needs for that"


def ended_early(spec: Spec) -> ContainerError:
    """Return the error of a process that ended between its start and its program.

    A filter may have kept it from saying why.
    """
    hint = _FILTERED if spec.linux.seccomp else ""
    return ContainerError(f"its process ended before its program ran{hint}")


def ended_uncreated(spec: Spec, code: int | None) -> ContainerError:
    """Return the error of a first process that ended, with this code if at all, before it was ready."""
    if code is None:
        why = "the kernel does not let it end"
    elif code == 128 + SIGKILL:
        why = "it was killed"
        member = _memory_limit(spec)
        if member:
            why += f"; a memory limit too low for it does that ({member})"
    else:
        why = f"it ended with status {code}{_FILTERED if spec.linux.seccomp else ''}"
    return ContainerError(f"the container's first process is gone before it was ready: {why}")


def _memory_limit(spec: Spec) -> str:
    """Return the JSON path of the container's memory limit, "" if it has none."""
    resources = spec.linux.resources
    if resources is None:
        return ""
    if resources.memory is not None and (resources.memory.limit or 0) > 0:
        return "$.linux.resources.memory.limit"
    return '$.linux.resources.unified["memory.max"]' if "memory.max" in resources.unified else ""
