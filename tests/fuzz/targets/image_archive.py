"""Image archives: tar files with a layout, compressed or not."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runwasi.images import reader
from runwasi.images.image_error import ImageError
from runwasi.images.names import image_name
from runwasi.images.tar_builder import LayerFile, build_wasm_image
from tests.fuzz.harness import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (ImageError,)


def run(data: bytes) -> None:
    fd = in_memory(data)
    try:
        reader.inspect(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def seeds() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        module, archive = Path(folder, "app.wasm"), Path(folder, "app.tar")
        module.write_bytes(b"\0asm\1\0\0\0")
        build_wasm_image(str(archive), image_name("localhost/app", "latest"), [LayerFile(str(module))])
        yield archive.read_bytes()
        yield gzip.compress(archive.read_bytes(), mtime=0)
