"""Where a shim's containers have their state, and a note about it for the `delete` of a later process."""

from __future__ import annotations

import os

_DEFAULT = "/run/containerd"
_NOTE = "state-root"


def state_root(engine: str, namespace: str, root: str = "") -> str:
    """Return the state root of a namespace; root is the runtime option of that name."""
    return f"{root or f'{_DEFAULT}/{engine}'}/{namespace}"


def note_root(bundle: str, root: str) -> None:
    """Leave the root option in the bundle, if there was one."""
    if root:
        with open(os.path.join(bundle, _NOTE), "w", encoding="utf-8") as file:
            file.write(root)


def noted_root(bundle: str) -> str:
    """Return the root option that a container of this bundle was created with."""
    try:
        with open(os.path.join(bundle, _NOTE), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
