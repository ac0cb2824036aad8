"""What annotations are called, for those who only look for a name: every start does, so this imports nothing.

Annotations come from whoever makes a container, and so from images (Podman copies an image's) and from tenants
(containerd passes those of a pod that its configuration names). What only tunes or tightens is safe. What takes
confinement away is unsafe: it is believed only where the node's configuration allows that very name.
"""

from __future__ import annotations

PREFIX = "io.runwasi."
"""What our own names begin with; one that is not in the table is refused, not ignored."""

UNSAFE_PREFIX = "io.runwasi.unsafe."
"""What those of ours begin with that are unsafe."""

HANDLER = "run.oci.handler"
"""crun's: with "wasm" the program has to be WebAssembly."""
VARIANT = "module.wasm.image/variant"
"""containerd's and crun's: with "compat" the program has to be WebAssembly."""
KEEP_GROUPS = "run.oci.keep_original_groups"
"""crun's: with "1" the process keeps its caller's groups. Podman says so for its --group-add keep-groups."""
CRIU_CONFIG = "org.criu.config"
"""runc's: a file of CRIU's options, which names programs that the host's root runs at a checkpoint."""
SYSTEMD_PROPERTY = "org.systemd.property."
"""runc's: what such names begin with; the rest is a property of the container's systemd unit."""
HARMLESS_PROPERTIES = frozenset(
    f"{SYSTEMD_PROPERTY}{name}"
    for name in (
        *("After", "Before", "CollectMode", "DefaultDependencies", "Description", "Documentation"),
        *("TimeoutStopSec", "TimeoutStopUSec"),
    )
)
"""Those that change no limit and touch no other unit, among them all that CRI-O sets."""

JUDGED = (PREFIX, CRIU_CONFIG, SYSTEMD_PROPERTY)
"""What the names begin with that may be unsafe, or none at all."""


def is_unsafe(name: str) -> bool:
    """Return whether an annotation takes confinement away."""
    if name.startswith(PREFIX):
        return name.startswith(UNSAFE_PREFIX)
    if name.startswith(SYSTEMD_PROPERTY):
        return name not in HARMLESS_PROPERTIES
    return name == CRIU_CONFIG
