"""Finds the wasm layers of a container's image in its manifest."""

from __future__ import annotations

import hashlib

from runwasi.containerd.client import Containerd
from runwasi.containerd.containerd_error import ContainerdError, NotInContainerd
from runwasi.oci.decode import SpecError, decode, parse_json
from runwasi.oci.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    WASM_CONFIG_TYPE,
    WASM_LAYER_TYPES,
    Descriptor,
    Index,
    Manifest,
    is_rootfs_layer,
    uncompressed_type,
)
from runwasi.oci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import TypeVar

    from runwasi.wire.messages import types as wire_types

    R = TypeVar("R", bound=Record)

MAX_DOCUMENT = 4 << 20
"""The largest manifest, index or config that is read, in bytes; containerd's own limit is 8 MiB."""

_WASM_SYSTEMS = ("wasip1", "wasi", "wasip2")
_MAX_INDEXES = 4
_MAX_LAYERS = 32  # one message passes all their descriptors to the container


class ImagePlatform(Record):
    """The platform in an image's config; artifacts may lack it."""

    os: str = ""
    architecture: str = ""


def image_of(client: Containerd, container_id: str) -> str:
    """Return the name of a container's image. Raises ContainerdError if none is recorded."""
    name = client.image_name(container_id)
    if not name:
        raise ContainerdError(
            f"no image is recorded for {container_id} in containerd (Docker and `ctr run --rootfs` record none),"
            " so there are no wasm layers to run"
        )
    return name


def wasm_layers(client: Containerd, image: str, engine_types: Collection[str]) -> tuple[Descriptor, ...]:
    """Return the layers of an image that an engine can take; () for an image without wasm.

    Raises ContainerdError, also for a wasm image without a suitable layer.
    """
    manifest = _manifest(client, _descriptor(client.image_target(image)))
    return _fitting(client, manifest, engine_types)


def _descriptor(target: wire_types.Descriptor) -> Descriptor:
    return Descriptor(media_type=target.media_type, digest=target.digest, size=target.size)


def _manifest(client: Containerd, target: Descriptor, depth: int = 0) -> Manifest:
    """Return a target's manifest: the target itself, or one chosen from an index."""
    if target.media_type in INDEX_TYPES:
        if depth == _MAX_INDEXES:
            raise ContainerdError("its indexes are nested too deeply")
        index = _document(client, target, Index)
        missing = ""
        for candidate in _in_order_of_preference(index):
            try:
                return _manifest(client, candidate, depth + 1)
            except NotInContainerd:  # clients fetch only the platforms that they need
                missing = missing or candidate.digest
        raise NotInContainerd(
            f"manifest {missing} is missing" if missing else f"index {target.digest} is empty"
        )
    if target.media_type not in MANIFEST_TYPES:
        raise ContainerdError(f"{target.digest} is neither a manifest nor an index but {target.media_type!r}")
    return _document(client, target, Manifest)


def _in_order_of_preference(index: Index) -> list[Descriptor]:
    """Return an index's manifests: those for wasm first, then those for no platform (artifacts), then the others.

    We ask for layers only if the root filesystem has no program, so we look for wasm.
    """

    def preference(entry: Descriptor) -> int:
        if entry.platform is None:
            return 1
        return 0 if entry.platform.os in _WASM_SYSTEMS or entry.platform.architecture == "wasm" else 2

    return sorted(index.manifests, key=preference)


def _fitting(client: Containerd, manifest: Manifest, engine_types: Collection[str]) -> tuple[Descriptor, ...]:
    fitting = tuple(layer for layer in manifest.layers if _is_wasm(layer, engine_types))
    if len(fitting) > _MAX_LAYERS:
        raise ContainerdError(f"it has {len(fitting)} wasm layers, more than the limit of {_MAX_LAYERS}")
    if fitting:
        return fitting
    foreign = next((layer for layer in manifest.layers if not is_rootfs_layer(layer.media_type)), None)
    if foreign is None or not _is_for_wasm(client, manifest):
        return ()
    accepted = ", ".join(sorted({*WASM_LAYER_TYPES, *engine_types}))
    raise ContainerdError(f"layer {foreign.digest} has type {foreign.media_type}, not one of {accepted}")


def _is_wasm(layer: Descriptor, engine_types: Collection[str]) -> bool:
    media_type = uncompressed_type(layer.media_type)
    return media_type in WASM_LAYER_TYPES or media_type in engine_types or layer.media_type in engine_types


def _is_for_wasm(client: Containerd, manifest: Manifest) -> bool:
    if manifest.config.media_type == WASM_CONFIG_TYPE:
        return True
    config = _document(client, manifest.config, ImagePlatform)
    return config.os in _WASM_SYSTEMS or config.architecture.startswith("wasm")


def _document(client: Containerd, blob: Descriptor, record_type: type[R]) -> R:
    """Read a blob of JSON, and check its digest."""
    if blob.size > MAX_DOCUMENT:
        raise ContainerdError(f"{blob.digest} has {blob.size} bytes, more than the limit of {MAX_DOCUMENT}")
    data = b"".join(_at_most(client.read(blob.digest), MAX_DOCUMENT, blob.digest))
    check_digest(blob.digest, hashlib.new(blob.digest.partition(":")[0], data).hexdigest())
    try:
        return decode(record_type, parse_json(data))
    except SpecError as error:
        raise ContainerdError(f"{blob.digest}: {error}") from None


def _at_most(pieces: Iterator[bytes], limit: int, digest: str) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise ContainerdError(f"{digest} has more than {limit} bytes")
        yield piece


def check_digest(expected: str, digits: str) -> None:
    """Raise ContainerdError unless the digits are those of the expected digest."""
    if expected.partition(":")[2] != digits:
        raise ContainerdError(f"the content of {expected} is damaged: its digest is {digits}")
