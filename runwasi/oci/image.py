"""Images as image-spec 1.1 and the wasm artifact convention describe them: manifests, indexes and media types.

Only the members that runwasi reads. Sources: image-spec manifest.md, image-index.md, config.md, image-layout.md;
https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/.
"""

from __future__ import annotations

from runwasi.oci.record import EMPTY, Int64, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

WASM_CONFIG = "application/vnd.wasm.config.v0+json"
WASM = "application/wasm"
WASM_COMPONENT_LAYER = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
WASM_CONTENT_LAYER = "application/vnd.wasm.content.layer.v1+wasm"
WASM_LAYERS = (WASM_COMPONENT_LAYER, WASM_CONTENT_LAYER, WASM)
"""Layer types whose content is one wasm module, whatever the engine."""

WASM_SYSTEMS = ("wasip1", "wasi", "wasip2")
"""What the config of a wasm image calls its operating system."""

TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"

_ROOTFS_LAYERS = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
)
_COMPRESSIONS = ("+gzip", "+zstd", ".gzip", ".zstd")


def uncompressed_type(media_type: str) -> str:
    """Return a layer's media type without the suffix that says how it is compressed."""
    for suffix in _COMPRESSIONS:
        media_type = media_type.removesuffix(suffix)
    return media_type


def is_rootfs_layer(media_type: str) -> bool:
    """Say whether a layer is a tar of the root file system, which containerd unpacks."""
    return media_type.startswith(_ROOTFS_LAYERS)


class Platform(Record):
    """What a manifest of an index is for."""

    os: str = ""
    architecture: str = ""
    variant: str = ""


class Descriptor(Record):
    """A blob: what it is and how to find it. Source: image-spec descriptor.md."""

    media_type: str = ""
    digest: str
    size: Int64
    annotations: Mapping[str, str] = EMPTY
    platform: Platform | None = None


class Index(Record):
    """Manifests to choose from."""

    manifests: tuple[Descriptor, ...] = ()


class Manifest(Record):
    """One image: its config and its layers."""

    config: Descriptor
    layers: tuple[Descriptor, ...] = ()


class Config(Record):
    """What an image is for; empty members for an artifact's config, which may say nothing."""

    os: str = ""
    architecture: str = ""
