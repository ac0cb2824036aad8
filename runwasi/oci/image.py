"""The documents of images and artifacts: descriptors, manifests, indexes, configurations, the layout.

Sources: image-spec 1.1; the CNCF's wasm OCI artifact layout for WasmConfig.
"""

from __future__ import annotations

from runwasi.oci.decode import SpecError, quoted
from runwasi.oci.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Annotated, Any, ClassVar, Literal, TypeAlias

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

DOCKER_INDEX_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"

WASM_CONFIG_TYPE = "application/vnd.wasm.config.v0+json"
WASM_TYPE = "application/wasm"
WASM_CONTENT_LAYER_TYPE = "application/vnd.wasm.content.layer.v1+wasm"
WASM_COMPONENT_LAYER_TYPE = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"

INDEX_TYPES = frozenset({INDEX_TYPE, DOCKER_INDEX_TYPE})
MANIFEST_TYPES = frozenset({MANIFEST_TYPE, DOCKER_MANIFEST_TYPE})
WASM_LAYER_TYPES = frozenset({WASM_TYPE, WASM_CONTENT_LAYER_TYPE, WASM_COMPONENT_LAYER_TYPE})

LAYOUT_FILE = "oci-layout"
LAYOUT_VERSION = "1.0.0"
INDEX_FILE = "index.json"

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation of an index entry with its tag."""

CONTAINERD_IMAGE_NAME = "io.containerd.image.name"
"""The annotation of an index entry with the image's full name in containerd."""

TITLE = "org.opencontainers.image.title"
"""The annotation of a layer with the name of its file."""

Size: TypeAlias = "Annotated[int, 0, 9223372036854775807]"
SchemaVersion: TypeAlias = "Annotated[int, 2, 2]"
RootFsType: TypeAlias = "Literal['layers']"
LayoutVersion: TypeAlias = "Literal['1.0.0']"


class Platform(Record):
    """The platform that an image is built for."""

    json_names: ClassVar[Mapping[str, str]] = {"os_version": "os.version", "os_features": "os.features"}

    architecture: str
    os: str
    os_version: str | None = None
    os_features: tuple[str, ...] = ()
    variant: str | None = None


class Descriptor(Record):
    """A reference to content by digest; `size` is in bytes, `data` the content itself in base64."""

    media_type: str
    digest: str
    size: Size
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = EMPTY
    data: str | None = None
    platform: Platform | None = None
    artifact_type: str | None = None

    def check(self) -> None:
        """Refuse a malformed digest: it becomes part of a path."""
        check_digest(".digest", self.digest)


class Manifest(Record):
    """An image or artifact: its configuration and layers."""

    schema_version: SchemaVersion
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = EMPTY


class Index(Record):
    """A list of manifests, usually one for each platform."""

    schema_version: SchemaVersion
    media_type: str | None = None
    artifact_type: str | None = None
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = EMPTY


class OciLayout(Record):
    """The `oci-layout` file that marks a directory as an image layout."""

    image_layout_version: LayoutVersion


class ExecutionParameters(Record):
    """The `config` part of an image's configuration: the defaults for its containers."""

    json_names: ClassVar[Mapping[str, str]] = {
        "user": "User",
        "exposed_ports": "ExposedPorts",
        "env": "Env",
        "entrypoint": "Entrypoint",
        "cmd": "Cmd",
        "volumes": "Volumes",
        "working_dir": "WorkingDir",
        "labels": "Labels",
        "stop_signal": "StopSignal",
        "args_escaped": "ArgsEscaped",
    }

    user: str | None = None
    exposed_ports: Mapping[str, Any] = EMPTY
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: Mapping[str, Any] = EMPTY
    working_dir: str | None = None
    labels: Mapping[str, str] = EMPTY
    stop_signal: str | None = None
    args_escaped: bool = False


class RootFs(Record):
    """The digests of an image's layers, uncompressed."""

    json_names: ClassVar[Mapping[str, str]] = {"diff_ids": "diff_ids"}

    type: RootFsType
    diff_ids: tuple[str, ...]


class History(Record):
    """The origin of one layer."""

    json_names: ClassVar[Mapping[str, str]] = {"created_by": "created_by", "empty_layer": "empty_layer"}

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False


class ImageConfig(Platform):
    """The configuration of an image."""

    created: str | None = None
    author: str | None = None
    config: ExecutionParameters = ExecutionParameters()
    rootfs: RootFs
    history: tuple[History, ...] = ()


class WasmComponent(Record):
    """The interfaces of the component in a wasm artifact."""

    exports: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    target: str | None = None


class WasmConfig(Record):
    """The configuration of a wasm artifact, media type WASM_CONFIG_TYPE."""

    created: str | None = None
    author: str | None = None
    architecture: str
    os: str
    layer_digests: tuple[str, ...]
    component: WasmComponent | None = None


def uncompressed_type(media_type: str) -> str:
    """Return a layer's media type without the suffix for its compression."""
    for suffix in ("+gzip", "+zstd", ".gzip", ".zstd"):
        media_type = media_type.removesuffix(suffix)
    return media_type


def is_rootfs_layer(media_type: str) -> bool:
    """Return whether a layer is part of a root filesystem, which is unpacked and has a diff_id."""
    return media_type.startswith(("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."))


def check_digest(path: str, digest: str) -> None:
    """Raise SpecError unless a digest is `algorithm:encoded`, with the right number of digits for SHA-2."""
    algorithm, _, encoded = digest.partition(":")
    length = {"sha256": 64, "sha512": 128}.get(algorithm)
    if length is not None:
        valid = len(encoded) == length and not set(encoded) - set("0123456789abcdef")
    else:
        valid = bool(algorithm and encoded) and (algorithm + encoded).isascii()
        valid = (
            valid
            and algorithm[0].isalnum()
            and all(c.isalnum() or c in "+._-" for c in algorithm)
            and algorithm.islower()
        )
        valid = valid and all(c.isalnum() or c in "=_-" for c in encoded)
    if not valid:
        raise SpecError(path, f"{quoted(digest)} is not a digest")
