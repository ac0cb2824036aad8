"""Records in a bundle where the container's state is, for later processes such as `delete`."""

from __future__ import annotations

import os

_NOTE = "state-root"

PID_FILE = "init.pid"
"""File of the bundle that names the container's first process, as containerd's own shim leaves it."""


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
