"""Reads a bundle: the folder with config.json and usually the rootfs."""

from __future__ import annotations

import os

from runwasi.engines.annotation_names import JUDGED
from runwasi.executor.errors import ContainerError, Invalid
from runwasi.oci.decode import read_document
from runwasi.oci.spec import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.oci.process import Process
    from runwasi.oci.spec import Spec


class Bundle:
    """A loaded bundle: its absolute path, its spec, and the bytes of config.json the spec was read from."""

    __slots__ = ("_is_found", "_rootfs", "path", "raw", "spec")

    def __init__(self, path: str, spec: Spec, raw: bytes) -> None:
        self.path = path
        self.spec = spec
        self.raw = raw
        self._rootfs = ""
        self._is_found = False

    @classmethod
    def load(cls, path: str, config: str = "") -> Bundle:
        """Read the bundle at path; config names another file than its config.json.

        Raises ContainerError when a file is missing or unreadable, SpecError naming the JSON path otherwise.
        """
        return cls.of(path, read_config(path, config))

    @classmethod
    def of(cls, path: str, raw: bytes) -> Bundle:
        """Return the bundle at path whose config.json has been read. Raises SpecError naming the JSON path."""
        return cls(os.path.abspath(path), loads(raw), raw)

    @property
    def rootfs(self) -> str:
        """The rootfs as an absolute path without symbolic links, the same for as long as the bundle is in use."""
        if not self._rootfs:
            self._rootfs = os.path.realpath(os.path.join(self.path, self.spec.root.path))
        return self._rootfs

    @property
    def process(self) -> Process:
        """The container's process. Raises Invalid when the configuration has none to run."""
        if self.spec.process is None:
            raise Invalid("$.process: is required to create a container")
        return self.spec.process

    def found(self, rootfs: str) -> None:
        """Note what `rootfs` is, and that it is a directory: somebody has looked."""
        self._rootfs = rootfs
        self._is_found = True

    def find_rootfs(self) -> str:
        """Return the rootfs. Raises ContainerError if it is not a directory."""
        if not os.path.exists(self.rootfs):
            raise ContainerError(f"rootfs {self.rootfs} does not exist ($.root.path)")
        if not os.path.isdir(self.rootfs):
            raise ContainerError(f"rootfs {self.rootfs} is not a directory ($.root.path)")
        return self.rootfs

    def check(self) -> None:
        """Refuse a rootfs that is not a directory, and annotations that this node does not allow.

        Raises SpecError or ContainerError.
        """
        if not self._is_found:
            self.found(self.find_rootfs())
        if any(name.startswith(JUDGED) for name in self.spec.annotations):
            from runwasi.executor.plan.check_annotations import (
                check_annotations,  # late: few containers have such annotations
            )

            check_annotations(self.spec.annotations)


def read_config(path: str, elsewhere: str = "") -> bytes:
    """Read the configuration of the bundle at path, or the file that replaces it, which may be a pipe.

    Raises ContainerError when it is missing or unreadable.
    """
    config = elsewhere or os.path.join(path, "config.json")
    if not os.path.isdir(path):
        raise ContainerError(f"bundle {path}: no such directory")
    try:
        return read_document(config, regular=not elsewhere)
    except FileNotFoundError:
        raise ContainerError(
            f"JSON specification file {config} not found: --bundle names its folder, `runwasi spec` writes one"
        ) from None
    except OSError as error:
        raise ContainerError(f"{config}: {error.strerror}", errno=error.errno or 0) from None
