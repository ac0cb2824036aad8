"""The node's configuration, and the runtime options that containerd's configuration gives as TOML."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runwasi.executor.errors import Invalid
from runwasi.node import configuration
from runwasi.node.configuration import ConfigurationError
from runwasi.shim.services.calls.runtime_options import runtime_options, shim_cgroup
from runwasi.wire.messages import runtime_options as generic
from runwasi.wire.messages.well_known import Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (Invalid,)

_folder = tempfile.TemporaryDirectory()


def run(data: bytes) -> None:
    file = Path(_folder.name, "config.toml")
    file.write_bytes(data)
    before = os.environ.get(configuration.OVERRIDE)
    os.environ[configuration.OVERRIDE] = str(file)
    try:
        configuration.load()
    except ConfigurationError:
        pass
    finally:
        os.environ.pop(configuration.OVERRIDE)
        if before is not None:
            os.environ[configuration.OVERRIDE] = before
    packed = Any(type_url="runtimeoptions.v1.Options", value=generic.Options(config_body=data).encode())
    shim_cgroup(packed)
    runtime_options(packed)


def seeds() -> Iterator[bytes]:
    yield b'leave_daemon = false\nunsafe_annotations = ["io.runwasi.unsafe.seccomp"]\n'
    yield b'ShimCgroup = "/shims"\nSystemdCgroup = true\nIoUid = 7\n[other]\na = [1, {b = 2024-01-01T00:00:00Z}]\n'
