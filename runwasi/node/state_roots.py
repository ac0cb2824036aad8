"""Lists the folders that hold the state of containers: those of the command line, and of containerd's shims."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMMAND_LINE = "/run/runwasi"
"""The default state root of the command line."""

_SHIMS = "/run/containerd"


def shim_root(engine: str, namespace: str, root: str = "") -> str:
    """Return the state root of the shims of an engine in a namespace; root is the runtime option of that name."""
    return f"{root or f'{_SHIMS}/{engine}'}/{namespace}"


def shim_roots(engines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each namespace with shims of these engines, and its default state root."""
    for engine in engines:
        try:
            namespaces = sorted(os.listdir(f"{_SHIMS}/{engine}"))
        except FileNotFoundError:
            continue
        for namespace in namespaces:
            yield namespace, shim_root(engine, namespace)
