"""containerd's configuration as data: version, runtimes, imports. Source: man 5 containerd-config.toml."""

from __future__ import annotations

import os
import tomllib
from glob import glob

from runwasi.deployment.deployment_error import DeploymentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
"""The table that configures CRI's runtimes, by the version of the configuration."""

_CRI_NAMES = {"cri", *PLUGINS.values()}


class Document:
    """A parsed configuration."""

    def __init__(self, text: str, path: str) -> None:
        """Parse it. Raises DeploymentError naming file and line if it is not TOML."""
        self.path = path
        try:
            self.content: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise DeploymentError(f"{path}: {error}; it is left as it was") from None

    @property
    def version(self) -> int:
        """Its version, 1 if it has none."""
        version = self.content.get("version", 1)
        return version if isinstance(version, int) else 1

    @property
    def plugin(self) -> str:
        """The name of the plugin with the runtimes."""
        return PLUGINS[self.version]

    @property
    def disables_cri(self) -> bool:
        """Whether it turns the CRI plugin off, as Docker's packages of containerd do."""
        disabled = self.content.get("disabled_plugins", ())
        return isinstance(disabled, list) and bool(_CRI_NAMES.intersection(map(str, disabled)))

    @property
    def cri(self) -> Mapping[str, Any]:
        """The table of CRI's runtimes and their defaults."""
        return _table(_table(_table(self.content, "plugins"), self.plugin), "containerd")

    @property
    def runtimes(self) -> Mapping[str, Mapping[str, Any]]:
        """The table of each runtime that it names, by its handler."""
        return {
            name: table for name, table in _table(self.cri, "runtimes").items() if isinstance(table, dict)
        }

    @property
    def default_runtime(self) -> str:
        """The handler of pods without a RuntimeClass."""
        return str(self.cri.get("default_runtime_name") or "runc")

    @property
    def address(self) -> str:
        """Its socket, "" for the usual one."""
        return str(_table(self.content, "grpc").get("address") or "")

    def drop_in_folder(self) -> str:
        """Return the folder whose .toml files it imports, "" if there is none."""
        for pattern in self._imports():
            folder, name = os.path.split(pattern)
            if name == "*.toml" and not glob_characters(folder):
                return folder
        return ""

    def imported(self) -> list[str]:
        """Return the paths of the files that it imports now."""
        return [path for pattern in self._imports() for path in sorted(glob(pattern))]

    @property
    def has_relative_imports(self) -> bool:
        """Whether it has imports relative to its own folder."""
        return not all(map(os.path.isabs, map(str, self.content.get("imports", ()))))

    def _imports(self) -> list[str]:
        patterns = self.content.get("imports", ())
        beside = os.path.dirname(self.path)
        return [os.path.join(beside, item) for item in patterns if isinstance(item, str)]


def glob_characters(text: str) -> bool:
    """Return whether a path has characters that a shell would expand."""
    return any(character in text for character in "*?[")


def has_systemd_cgroup(runtime: Mapping[str, Any]) -> bool | None:
    """Return a runtime's SystemdCgroup, None if it is not set."""
    value = _table(runtime, "options").get("SystemdCgroup")
    return value if isinstance(value, bool) else None


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key)
    return found if isinstance(found, dict) else {}
