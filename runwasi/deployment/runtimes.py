"""Lists the runtimes that a node can offer, as containerd's configuration and RuntimeClasses name them."""

from __future__ import annotations

from runwasi.engines import annotation_names as names
from runwasi.engines import registry
from runwasi.engines.annotations import OURS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SAFE_ANNOTATIONS = (*(name for name in OURS if not names.is_unsafe(name)), names.HANDLER, names.VARIANT)
"""Annotations that a pod may pass on to its containers unless the node's operator adds more: docs/annotations.md."""


class Runtime:
    """A runtime of ours: the handler that pods request, the shim's type, and the engine.

    shim is the shim's path, "" for one that containerd finds in its PATH.
    """

    __slots__ = ("engine", "handler", "shared", "shim", "type")

    def __init__(self, engine: str, *, shared: bool = False, prefix: str = "", folder: str = "") -> None:
        self.engine = engine
        self.shared = shared
        self.handler = f"{prefix}{engine}{'d' if shared else ''}"
        self.shim = f"{folder}/{registry.shim_name(engine, shared=shared)}" if folder else ""
        self.type = registry.runtime_name(engine, shared=shared)


def default_engines() -> tuple[str, ...]:
    """Return the engines to offer by default: the default engine, and those of other packages."""
    return (registry.DEFAULT, *(name for name in registry.names() if name not in registry.BUILT_IN))


def runtimes(engines: Sequence[str], *, shared: bool, prefix: str = "", folder: str = "") -> list[Runtime]:
    """Return a runtime for each engine, and with shared a second one for its shared mode.

    folder is where the shims are, "" if that is in containerd's PATH.
    """
    found = [Runtime(engine, prefix=prefix, folder=folder) for engine in engines]
    if shared:
        found += [Runtime(engine, shared=True, prefix=prefix, folder=folder) for engine in engines]
    return found
