"""config.json: what is accepted is written and read back as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from devtools.bundle import default_config
from runwasi.executor.mounts import mount_options
from runwasi.oci.decode import SpecError
from runwasi.oci.encode import dumps
from runwasi.oci.spec import loads
from tests.unit.oci.full_config import full_config

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (SpecError,)


def run(data: bytes) -> None:
    spec = loads(data)
    assert loads(dumps(spec).encode()) == spec
    for mount in spec.mounts:
        mount_options.parse(mount.options)


def seeds() -> Iterator[bytes]:
    yield json.dumps(default_config(["sh"])).encode()
    yield json.dumps(full_config()).encode()
    yield b'{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["a"]}}'
