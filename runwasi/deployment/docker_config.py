"""Adds the OCI command line to Docker's daemon.json, or removes it. Source: man 1 dockerd, daemon.json.

Docker calls our shims without configuration, by their runtimes' names: `docker run --runtime
io.containerd.wasmtime.v1`.
"""

from __future__ import annotations

import json
import re

from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.file_change import FileChange
from runwasi.deployment.target_plan import TargetPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runwasi.deployment.target_node import TargetNode

DEFAULT_CONFIG = "/etc/docker/daemon.json"
NAME = "runwasi"
_RELOAD = ("systemctl", "reload", "docker")
_WASM_IMAGES = (
    'images of platform wasi/wasm need "features": {{"containerd-snapshotter": true}} in {path}. Set it yourself: '
    "Docker then no longer shows the images and containers that it has now"
)


def read_daemon_json(text: str, path: str) -> dict[str, Any]:
    """Read a daemon.json. Raises DeploymentError naming the file and the line."""
    try:
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise DeploymentError(f"{path}:{error.lineno}: {error.msg}; it is left as it was") from None
    except ValueError as error:
        raise DeploymentError(f"{path}: {error}; it is left as it was") from None
    if not isinstance(document, dict):
        raise DeploymentError(f"{path}: is not a JSON object; it is left as it was")
    if not isinstance(document.get("runtimes", {}), dict):
        raise DeploymentError(f"{path}: runtimes: is not a JSON object; it is left as it was")
    return document


class DockerConfig:
    """A daemon.json."""

    def __init__(self, node: TargetNode, name: str = DEFAULT_CONFIG) -> None:
        """Read it. Raises DeploymentError, OSError."""
        self._node = node
        self._path = node.path(name)
        self._text = node.read(name)
        text = self._text or ""
        self._document = read_daemon_json(text, self._path) if text.strip() else {}

    def install(self, program: str) -> TargetPlan:
        """Return the plan that makes the program Docker's runtime `runwasi`."""
        runtimes = self._document.get("runtimes", {})
        entry = runtimes.get(NAME)
        notes = []
        if isinstance(entry, dict) and entry.keys() - {"path"}:
            notes.append(f"{self._path}: the runtime {NAME} has options of yours, and stays as it is")
        else:
            self._document["runtimes"] = {**runtimes, NAME: {"path": program}}
        if not _table(self._document, "features").get("containerd-snapshotter"):
            notes.append(_WASM_IMAGES.format(path=self._path))
        return self._plan(self._written(), notes, keep=entry is None)

    def uninstall(self) -> TargetPlan:
        """Return the plan that removes the runtime. Raises DeploymentError if it is the default."""
        runtimes = dict(self._document.get("runtimes", {}))
        if NAME not in runtimes:
            return self._plan(self._text, [])
        if self._document.get("default-runtime") == NAME:
            raise DeploymentError(f"{self._path}: default-runtime is {NAME}: set it to another runtime first")
        del runtimes[NAME]
        if runtimes:
            self._document["runtimes"] = runtimes
        else:
            del self._document["runtimes"]
        return self._plan(self._written() if self._document else None, [])

    def _plan(self, after: str | None, notes: list[str], *, keep: bool = False) -> TargetPlan:
        found = self._path if self._text is not None else f"{self._path} (no such file yet)"
        return TargetPlan(
            "docker",
            found,
            [FileChange(self._path, self._text, after, keep=keep)],
            after=[_RELOAD] if self._node.has_systemd() else [],
            hint="have Docker read it: kill -HUP $(pidof dockerd)",
            notes=notes,
        )

    def _written(self) -> str:
        """Format the document with the file's own indentation; return the file's text if nothing changes."""
        text = self._text or ""
        if text.strip() and json.loads(text) == self._document:
            return text
        found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
        return json.dumps(self._document, indent=found[1] if found else "  ", ensure_ascii=False) + "\n"


def _table(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated}: is there twice")
    return found
