"""Fetches the wasm layers of a container's image, ready to run; a helper process calls it during create."""

from __future__ import annotations

import os

from runwasi.containerd.artefacts import kept_keys
from runwasi.containerd.blobs import open_blob
from runwasi.containerd.client import Containerd
from runwasi.containerd.containerd_error import ContainerdError
from runwasi.containerd.images import image_of, wasm_layers
from runwasi.engines.layer_choice import Layer
from runwasi.engines.module_cache import DEFAULT_ROOT, ModuleCache, cache_key_of_digest
from runwasi.oci.image import TITLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.engines.engine import Engine
    from runwasi.oci.image import Descriptor

MAX_LAYER = 512 << 20
"""The largest layer that is run, in bytes, compressed or not."""
MAX_LAYERS = 1 << 30
"""The most bytes of an image's wasm layers together: those that are compressed are unpacked into memory."""


def fetch_layers(
    address: str, namespace: str, container_id: str, engine: Engine, cache_root: str = DEFAULT_ROOT
) -> tuple[Layer, ...]:
    """Return the wasm layers of a container's image with open descriptors; () for an image without any.

    address is that of containerd's socket. The descriptors are the caller's. Raises ContainerdError.
    """
    with Containerd(address, namespace) as client:
        image = image_of(client, container_id)
        try:
            descriptors = wasm_layers(client, image, engine.supported_layer_types())
            return _all_opened(client, descriptors, engine, ModuleCache(cache_root))
        except ContainerdError as error:
            raise ContainerdError(f"image {image}: {error}", error.code) from error


def _all_opened(
    client: Containerd, descriptors: Sequence[Descriptor], engine: Engine, cache: ModuleCache
) -> tuple[Layer, ...]:
    content_root = client.content_root() if descriptors else ""
    opened: list[Layer] = []
    size = 0
    try:
        for descriptor in descriptors:
            opened.append(_opened(client, content_root, descriptor, engine, cache))
            size += os.fstat(opened[-1].fd).st_size
            if size > MAX_LAYERS:
                raise ContainerdError(f"its wasm layers have more than {MAX_LAYERS} bytes together")
    except BaseException:
        for layer in opened:
            os.close(layer.fd)
        raise
    return tuple(opened)


def _opened(
    client: Containerd, content_root: str, layer: Descriptor, engine: Engine, cache: ModuleCache
) -> Layer:
    labels = client.info(layer.digest).labels
    fd, digest = open_blob(client, content_root, layer.digest, layer.size, MAX_LAYER)
    title = layer.annotations.get(TITLE, "")

    def own_key() -> str:
        return cache_key_of_digest(digest.removeprefix("sha256:"), engine.compatibility_key())

    kept = kept_keys(client, engine.name, labels, cache, own_key)
    return Layer(title, layer.media_type, digest, layer.digest, fd, kept)
