"""Packs a folder as a layer: a gzip-compressed tar, with the same bytes for the same tree."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from typing import IO

from runwasi.images.archive import source_date
from runwasi.images.image_error import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.images.archive import Progress


def write_layer(folder: str, target: str, progress: Progress | None = None) -> str:
    """Write the folder's content to `target` as tar+gzip, and return its diff_id (before compression).

    Owners stay numeric, times become the image's, and sockets are left out, as by tar and Docker.
    Raises OSError, and ImageError if `folder` is not a folder.
    """
    if not os.path.isdir(folder):
        raise ImageError(f"{folder}: not a folder")
    with open(target, "wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as compressed:
        hashed = _HashedWriter(compressed, progress)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path, name in _walk(folder):
                _add(tar, path, name)
    return f"sha256:{hashed.digest.hexdigest()}"


def _walk(folder: str, below: str = "") -> Iterator[tuple[str, str]]:
    """Yield paths and their names in the layer, parents first, siblings sorted."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = f"{below}{entry.name}"
        yield entry.path, name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{name}/")


def _add(tar: tarfile.TarFile, path: str, name: str) -> None:
    if stat.S_ISSOCK(os.lstat(path).st_mode):
        return
    entry = tar.gettarinfo(path, name)
    entry.uname = entry.gname = ""
    entry.mtime = source_date()
    if entry.isreg():
        with open(path, "rb") as content:
            tar.addfile(entry, content)
    else:
        tar.addfile(entry)


class _HashedWriter:
    """Hashes the bytes that it writes, and reports their number."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, progress: Progress | None) -> None:
        self._file = file
        self._progress = progress
        self.digest = hashlib.sha256()

    def write(self, chunk: bytes) -> int:
        self.digest.update(chunk)
        if self._progress:
            self._progress(len(chunk))
        return self._file.write(chunk)
