"""Components: their names, their outline, and the inset that is put into those that serve HTTP."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from devtools.components.build import component
from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.component_binary import read_names
from runwasi.engines.wasm.component_outline import NotUnderstood
from runwasi.engines.wasmtime_component import check
from runwasi.images import component as image_component
from runwasi.images.image_error import ImageError
from runwasi.wasi.inset.setting import with_inset
from tests.fuzz.harness import in_memory
from tests.fuzz.wasm_seeds import COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (NotUnderstood,)


def run(data: bytes) -> None:
    fd = in_memory(data)
    try:
        read_names(fd)
        check(fd, "_start")
    except CannotHandle:
        pass
    finally:
        os.close(fd)
    try:
        image_component.interface_of(data)
    except ImageError:
        pass
    with_inset(data)


def seeds() -> Iterator[bytes]:
    yield from COMPONENTS
    for server in ("hello", "starter"):
        yield component(server).read_bytes()
