"""Writes an OCI image layout as a tar file, which `ctr image import`, skopeo, podman and docker all read.

The same input produces the same bytes: entries have a fixed order, no owner, and the time of the epoch (or
SOURCE_DATE_EPOCH). Sources: image-spec image-layout.md; the manifest.json beside it is Docker's.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from typing import IO, Any

from runwasi.images.image_error import ImageError
from runwasi.images.names import ImageName
from runwasi.oci.image import (
    CONTAINERD_IMAGE_NAME,
    INDEX_FILE,
    INDEX_TYPE,
    LAYOUT_FILE,
    LAYOUT_VERSION,
    MANIFEST_TYPE,
    REF_NAME,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Json = dict[str, Any]
    Progress = Callable[[int], None]
    """Called with the number of bytes read since the last call."""

_CHUNK = 1 << 20


class Blob:
    """A part of an image, in a file or in memory, with the data for its descriptor."""

    def __init__(
        self,
        media_type: str,
        source: str | bytes,
        annotations: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Measure the blob. Raises OSError."""
        self.media_type = media_type
        self.annotations = dict(annotations or {})
        self._source = source
        digest = hashlib.sha256()
        self.size = 0
        with self.open() as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                self.size += len(chunk)
                if progress:
                    progress(len(chunk))
        self.digest = f"sha256:{digest.hexdigest()}"

    @property
    def name(self) -> str:
        """The blob's path in the layout."""
        return f"blobs/{self.digest.replace(':', '/')}"

    def open(self) -> IO[bytes]:
        """Open it for reading from its start. Raises OSError."""
        return open(self._source, "rb") if isinstance(self._source, str) else io.BytesIO(self._source)

    def descriptor(self, **more: object) -> Json:
        """Describe it as manifests do. Source: image-spec descriptor.md."""
        described: Json = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            described["annotations"] = self.annotations
        return described | more


def json_blob(media_type: str, document: object) -> Blob:
    """Encode a document deterministically."""
    return Blob(media_type, encode(document))


def encode(document: object) -> bytes:
    """Encode JSON without insignificant space, members in the given order."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def source_date() -> int:
    """Return the date of an image's parts in seconds since 1970: SOURCE_DATE_EPOCH, else 0. Raises ImageError."""
    text = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    if not text.isdecimal():
        raise ImageError(f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds")
    return int(text)


def write_archive(
    target: str,
    name: ImageName,
    config: Blob,
    layers: Sequence[Blob],
    platform: Mapping[str, str],
    progress: Progress | None = None,
) -> str:
    """Write an image with one manifest, and return the manifest's digest; the file appears once it is complete.

    Raises OSError; ImageError if a layer's file changed meanwhile.
    """
    annotations = {CONTAINERD_IMAGE_NAME: str(name), REF_NAME: name.tag}
    manifest = json_blob(
        MANIFEST_TYPE,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
            "annotations": annotations,
        },
    )
    manifests = [manifest.descriptor(annotations=annotations, platform=dict(platform))]
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
    docker = {"Config": config.name, "RepoTags": [str(name)], "Layers": [layer.name for layer in layers]}
    with (
        _written_whole(target) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add(tar, LAYOUT_FILE, encode({"imageLayoutVersion": LAYOUT_VERSION}))
        _add(tar, INDEX_FILE, encode(index))
        _add(tar, "manifest.json", encode([docker]))
        for blob in sorted(
            {blob.digest: blob for blob in (config, manifest, *layers)}.values(), key=_by_digest
        ):
            _add_blob(tar, blob, progress)
    return manifest.digest


def _by_digest(blob: Blob) -> str:
    return blob.digest


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_entry(name, len(content)), io.BytesIO(content))


def _add_blob(tar: tarfile.TarFile, blob: Blob, progress: Progress | None) -> None:
    with blob.open() as content:
        reader = _MeasuredReader(content, progress)
        try:
            tar.addfile(_entry(blob.name, blob.size), reader)  # type: ignore[arg-type]  # it only calls read
        except OSError as error:
            if error.errno is not None:
                raise
            raise ImageError(f"{content.name} became shorter while it was read") from None
    if f"sha256:{reader.digest.hexdigest()}" != blob.digest:
        raise ImageError(f"{content.name} changed while it was read")


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o444
    entry.mtime = source_date()
    return entry


class _MeasuredReader:
    """A file that hashes the bytes read from it, and reports their number."""

    def __init__(self, file: IO[bytes], progress: Progress | None) -> None:
        self._file = file
        self._progress = progress
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        if self._progress:
            self._progress(len(chunk))
        return chunk


class _written_whole:  # noqa: N801  (used like a function)
    """Make a new file that gets its name at the end of `with`; after an error nothing is left."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._partial = f"{target}.{os.getpid()}.partial"

    def __enter__(self) -> IO[bytes]:
        self._file = open(self._partial, "wb")
        return self._file

    def __exit__(self, kind: object, *_exc: object) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._partial, self._target)
        else:
            os.unlink(self._partial)
