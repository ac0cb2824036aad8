"""state.json of a container's folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle.store import STATE, Saved, StateFolder
from runwasi.oci.encode import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (ContainerError,)

_root = tempfile.TemporaryDirectory()
_folder = StateFolder(_root.name, "fuzzed")
_folder.claim()


def run(data: bytes) -> None:
    Path(_folder.path, STATE).write_bytes(data)
    saved = _folder.load()
    _folder.save(saved)
    assert _folder.load() == saved


def seeds() -> Iterator[bytes]:
    saved = Saved(
        id="fuzzed",
        bundle="/bundle",
        rootfs="/bundle/rootfs",
        created="2025-01-01T00:00:00.000000000Z",
        owner=0,
        creator_pid=12,
        creator_start_time=3456,
        pid=78,
        start_time=9012,
        cgroup_paths={"memory": "/sys/fs/cgroup/memory/x", "": "/sys/fs/cgroup/unified/x"},
        engine="wasmtime",
        mounted_before=("/bundle/rootfs/proc",),
    )
    yield dumps(saved).encode()
    yield dumps(Saved(**{**saved.__dict__, "pid": 0, "mounted_before": ()})).encode()
