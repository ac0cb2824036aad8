"""Inspects an OCI archive: lists its images and layers, and checks every digest."""

from __future__ import annotations

import hashlib
import tarfile
import zlib

from runwasi.images.bounded_file import BoundedFile
from runwasi.images.image_error import ImageError
from runwasi.oci.decode import SpecError, decode, parse_json
from runwasi.oci.image import (
    CONTAINERD_IMAGE_NAME,
    INDEX_FILE,
    INDEX_TYPES,
    LAYOUT_FILE,
    REF_NAME,
    TITLE,
    Descriptor,
    Index,
    Manifest,
)
from runwasi.oci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, TypeVar

    R = TypeVar("R", bound=Record)

_DAMAGED = (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, RecursionError)
"""Errors that tarfile and its decompressor raise for bad content, beside OSError without a number."""
_MAX_DOCUMENT = 4 << 20
_MAX_DEPTH = 8
_MOST_MANIFESTS = 10_000
_MOST_LAYERS = 100_000
_CHUNK = 1 << 20


class LayerSummary(Record):
    """One layer: type, size in bytes, digest, and title or ""."""

    media_type: str
    size: int
    digest: str
    title: str


class ImageSummary(Record):
    """One manifest of an archive."""

    name: str
    platform: str
    digest: str
    config_type: str
    layers: tuple[LayerSummary, ...]


def inspect(path: str) -> list[ImageSummary]:
    """Read every manifest of an archive, and check every blob that they name.

    Raises ImageError for a file that is not such an archive, or is damaged; OSError.
    """
    try:
        # tarfile writes nothing here, but its type asks for a file that could be written
        with BoundedFile(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
            archive = _Archive(tar)
            file.end_of_headers()
            archive.document(LAYOUT_FILE)
            index = archive.decoded(Index, INDEX_FILE)
            found: list[ImageSummary] = []
            layers = 0
            for entry in archive.manifests(index):
                if len(found) == _MOST_MANIFESTS:
                    raise ImageError(f"has more than {_MOST_MANIFESTS} manifests")
                found.append(archive.summary(entry))
                layers += len(found[-1].layers)
                if layers > _MOST_LAYERS:
                    raise ImageError(f"its manifests name more than {_MOST_LAYERS} layers")
            return found
    except _DAMAGED as error:
        raise ImageError(f"{path}: not a tar archive: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise ImageError(f"{path}: not a tar archive: {error}") from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


class _Archive:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        self._verified: set[tuple[str, int]] = set()
        self._indexes: set[str] = set()

    def _file(self, name: str) -> tuple[int, IO[bytes]] | None:
        """Return a member's size and content; None for a link, which could lead in a circle, and what has holes."""
        member = self._members.get(name)
        if member is None or not member.isreg() or member.issparse():
            return None
        content = self._tar.extractfile(member)
        return (member.size, content) if content is not None else None

    def document(self, name: str) -> bytes:
        """Return a small member's content. Raises ImageError if there is none."""
        found = self._file(name)
        if found is None:
            raise ImageError(f"has no {name}: not an OCI image layout")
        size, content = found
        if size > _MAX_DOCUMENT:
            raise ImageError(f"{name} has {size} bytes, more than {_MAX_DOCUMENT}")
        return content.read()

    def decoded(self, record_type: type[R], name: str) -> R:
        """Decode a member into a record. Raises ImageError naming the place in the document."""
        try:
            return decode(record_type, parse_json(self.document(name)))
        except SpecError as error:
            raise ImageError(f"{name}: {error}") from None

    def manifests(self, index: Index, depth: int = 0) -> Iterator[Descriptor]:
        """Yield the manifests of an index and of nested indexes, each index only once."""
        if depth > _MAX_DEPTH:
            raise ImageError("indexes are nested too deeply")
        for entry in index.manifests:
            if entry.media_type in INDEX_TYPES:
                if entry.digest in self._indexes:
                    continue
                self._indexes.add(entry.digest)
                self.verify(entry)
                yield from self.manifests(self.decoded(Index, _blob_name(entry)), depth + 1)
            else:
                yield entry

    def summary(self, entry: Descriptor) -> ImageSummary:
        """Check all blobs of a manifest, and summarise it."""
        self.verify(entry)
        manifest = self.decoded(Manifest, _blob_name(entry))
        for blob in (manifest.config, *manifest.layers):
            self.verify(blob)
        names = entry.annotations
        return ImageSummary(
            name=names.get(CONTAINERD_IMAGE_NAME) or names.get(REF_NAME, ""),
            platform=f"{entry.platform.os}/{entry.platform.architecture}" if entry.platform else "",
            digest=entry.digest,
            config_type=manifest.config.media_type,
            layers=tuple(
                LayerSummary(
                    media_type=layer.media_type,
                    size=layer.size,
                    digest=layer.digest,
                    title=layer.annotations.get(TITLE, ""),
                )
                for layer in manifest.layers
            ),
        )

    def verify(self, blob: Descriptor) -> None:
        """Compare a blob with its descriptor. Raises ImageError."""
        if (blob.digest, blob.size) in self._verified:
            return
        found = self._file(_blob_name(blob))
        if found is None:
            raise ImageError(f"blob {blob.digest} is missing")
        size, content = found
        if size != blob.size:
            raise ImageError(f"blob {blob.digest} has {size} bytes, its descriptor says {blob.size}")
        digest = hashlib.new(blob.digest.partition(":")[0])
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
        if digest.hexdigest() != blob.digest.partition(":")[2]:
            raise ImageError(f"blob {blob.digest} is damaged: its digest is {digest.hexdigest()}")
        self._verified.add((blob.digest, blob.size))


def _blob_name(blob: Descriptor) -> str:
    if not blob.digest.startswith(("sha256:", "sha512:")):
        raise ImageError(f"blob {blob.digest}: unknown digest algorithm")
    return f"blobs/{blob.digest.replace(':', '/')}"
