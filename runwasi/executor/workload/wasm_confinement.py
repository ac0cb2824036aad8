"""Confines a wasm container's process further: takes away everything that no guest can need.

An engine that a guest broke out of would find a process without capabilities that can gain none, and few system
calls: wasm_filter has those. A filter in the spec takes the place of ours; unsafe annotations, which the node has to
allow, turn each part off.
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
    """Return whether a wasm container without a filter of its own gets ours."""
    return not SECCOMP.of(annotations)
