"""The names of annotations. Every start looks for some, so this module imports nothing.

Annotations come from whoever makes a container, and so from images (Podman copies an image's) and from tenants
(containerd passes those of a pod that its configuration names). An annotation that tunes or tightens is safe. One
that takes confinement away is unsafe: it is obeyed only if the node's configuration allows that very name.
"""

from __future__ import annotations

PREFIX = "io.runwasi."
"""The prefix of our own names; an unknown one is refused, not ignored."""

UNSAFE_PREFIX = "io.runwasi.unsafe."
"""The prefix of our unsafe names."""

HANDLER = "run.oci.handler"
"""crun's: "wasm" requires that the program is WebAssembly."""
VARIANT = "module.wasm.image/variant"
"""containerd's and crun's: "compat" requires that the program is WebAssembly."""
KEEP_GROUPS = "run.oci.keep_original_groups"
"""crun's: with "1" the process keeps its caller's groups. Podman sets it for --group-add keep-groups."""
CRIU_CONFIG = "org.criu.config"
"""runc's: a file with CRIU's options, which names programs that the host's root runs at a checkpoint."""
SYSTEMD_PROPERTY = "org.systemd.property."
"""runc's: the prefix before the name of a property of the container's systemd unit."""
HARMLESS_PROPERTIES = frozenset(
    f"{SYSTEMD_PROPERTY}{name}"
    for name in (
        *("After", "Before", "CollectMode", "DefaultDependencies", "Description", "Documentation"),
        *("KillSignal", "TimeoutStopSec", "TimeoutStopUSec"),
    )
)
"""The properties that change no limit and touch no other unit, including all that CRI-O and Podman set."""

JUDGED = (PREFIX, CRIU_CONFIG, SYSTEMD_PROPERTY)
"""The prefixes of names that may be unsafe or unknown."""


def is_unsafe(name: str) -> bool:
    """Return whether an annotation takes confinement away."""
    if name.startswith(PREFIX):
        return name.startswith(UNSAFE_PREFIX)
    if name.startswith(SYSTEMD_PROPERTY):
        return name not in HARMLESS_PROPERTIES
    return name == CRIU_CONFIG
