"""Confines a wasm container's process further: removes every privilege that no guest needs.

A guest that breaks out of its engine finds a process that has no capabilities, can gain none, and may make
few system calls (wasm_filter lists them). A filter in the spec replaces ours. Unsafe annotations, which the
node must allow, turn each part off.
"""

from __future__ import annotations

from runwasi.engines.annotations import CAPABILITIES, SECCOMP
from runwasi.oci.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.oci.process import Process


def confined(process: Process, annotations: Mapping[str, str]) -> Process:
    """Return the process as a wasm container runs it: it gains no privileges and has no capabilities."""
    kept = process.capabilities if CAPABILITIES.of(annotations) else None
    return replaced(process, no_new_privileges=True, capabilities=kept)


def wants_filter(annotations: Mapping[str, str]) -> bool:
    """Return whether a wasm container without its own filter gets ours."""
    return not SECCOMP.of(annotations)
