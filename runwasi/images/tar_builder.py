"""Builds images of wasm modules, as layers, as an artifact or as files, or of a folder as a root filesystem."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import time

from runwasi.images import rootfs_layers
from runwasi.images.archive import Blob, json_blob, source_date, write_archive
from runwasi.images.component import interface_of_file
from runwasi.images.image_error import ImageError
from runwasi.images.wasm_file import wasm_kind
from runwasi.oci.image import (
    CONFIG_TYPE,
    LAYER_GZIP_TYPE,
    TITLE,
    WASM_COMPONENT_LAYER_TYPE,
    WASM_CONFIG_TYPE,
    WASM_CONTENT_LAYER_TYPE,
    WASM_LAYER_TYPES,
    WASM_TYPE,
    is_rootfs_layer,
)
from runwasi.oci.record import Record, replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.images.archive import Json, Progress
    from runwasi.images.names import ImageName

LAYERS_LABEL = "io.runwasi.layers"
"""The label that names the wasm layers: without it, two wasm images could share a config and so an
identity, because diff_ids name only layers that are unpacked (github.com/opencontainers/image-spec issue 1173)."""

_WASM_PLATFORM = {"architecture": "wasm", "os": "wasip1"}
_TYPE_OF_KIND = {"core": WASM_CONTENT_LAYER_TYPE, "component": WASM_COMPONENT_LAYER_TYPE}
_KIND_OF_TYPE = {WASM_CONTENT_LAYER_TYPE: "core", WASM_COMPONENT_LAYER_TYPE: "component"}
_SYSTEM_OF_KIND = {"core": "wasip1", "component": "wasip2"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class RunConfig(Record):
    """The defaults for a container of the image: what it runs, and how. Source: image-spec config.md."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""

    def members(self) -> Json:
        """Return the members that are set, under their names in config.json."""
        named = {
            "User": self.user,
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "WorkingDir": self.working_dir,
        }
        return {name: value for name, value in named.items() if value}


class LayerFile:
    """A file that becomes a layer, measured and checked."""

    def __init__(self, path: str, media_type: str = "", progress: Progress | None = None) -> None:
        """Measure the file. Without a media type it must be WebAssembly, and gets the type of its kind.

        Raises ImageError, OSError.
        """
        self.path = path
        self.kind = wasm_kind(path) if media_type in ("", *WASM_LAYER_TYPES) else None
        if self.kind is not None:
            media_type = _fitting_type(path, media_type, self.kind)
        self.title = os.path.basename(path)
        self.blob = Blob(media_type, path, {TITLE: self.title}, progress)


def _fitting_type(path: str, media_type: str, kind: str) -> str:
    expected = _KIND_OF_TYPE.get(media_type, kind)
    if expected != kind:
        what = {"core": "a core module", "component": "a component"}
        raise ImageError(
            f"{path}: {what[kind]}, but {media_type} is for {what[expected]}: use {_TYPE_OF_KIND[kind]}"
        )
    return media_type or _TYPE_OF_KIND[kind]


def build_wasm_image(
    target: str,
    name: ImageName,
    layers: Sequence[LayerFile],
    run: RunConfig | None = None,
    progress: Progress | None = None,
) -> str:
    """Write an image with wasm layers for the platform wasip1/wasm, and return the manifest's digest.

    A single module becomes the entrypoint, unless another is set. diff_ids name only layers that are tars of a
    root filesystem, because containerd unpacks and compares only those. Raises ImageError,
    OSError.
    """
    _check(layers)
    run = run or RunConfig()
    members = run.members()
    programs = [layer for layer in layers if layer.kind is not None]
    if not run.entrypoint and len(programs) == 1:
        members["Entrypoint"] = [f"/{programs[0].title}"]
    members["Labels"] = {LAYERS_LABEL: _digest_of_digests(layers)}
    diff_ids = [_diff_id(layer) for layer in layers if is_rootfs_layer(layer.blob.media_type)]
    config = {
        "created": _created(),
        **_WASM_PLATFORM,
        "config": members,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    blobs = [layer.blob for layer in layers]
    return write_archive(target, name, json_blob(CONFIG_TYPE, config), blobs, _WASM_PLATFORM, progress)


def build_artifact(
    target: str, name: ImageName, layers: Sequence[LayerFile], progress: Progress | None = None
) -> str:
    """Write a wasm OCI artifact, and return the manifest's digest.

    Raises ImageError, OSError. Source: CNCF wasm working group, "Wasm OCI artifact layout".
    """
    _check(layers)
    for layer in layers:
        if layer.blob.media_type not in WASM_LAYER_TYPES:
            raise ImageError(
                f"{layer.path}: an artifact's layers are WebAssembly, not {layer.blob.media_type}"
            )
        layer.blob.media_type = WASM_TYPE
    kinds = {layer.kind for layer in layers}
    system = "wasip2" if kinds == {"component"} else "wasip1"
    config: Json = {
        "created": _created(),
        "architecture": "wasm",
        "os": system,
        "layerDigests": [layer.blob.digest for layer in layers],
    }
    if system == "wasip2" and len(layers) == 1:
        interface = interface_of_file(layers[0].path)
        config["component"] = {"exports": interface.exports, "imports": interface.imports, "target": None}
    blobs = [layer.blob for layer in layers]
    wasm_platform = {"architecture": "wasm", "os": system}
    return write_archive(target, name, json_blob(WASM_CONFIG_TYPE, config), blobs, wasm_platform, progress)


def build_rootfs_image(
    target: str, name: ImageName, folder: str, run: RunConfig | None = None, progress: Progress | None = None
) -> str:
    """Write an ordinary image for this machine whose only layer is a folder, and return the manifest's digest.

    Raises ImageError, OSError.
    """
    machine = platform.machine()
    host = {"architecture": _ARCHITECTURES.get(machine, machine), "os": "linux"}
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(target) or ".", suffix=".layer") as layer:
        diff_id = rootfs_layers.write_layer(folder, layer.name, progress)
        config = {
            "created": _created(),
            **host,
            "config": (run or RunConfig()).members(),
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        blob = Blob(LAYER_GZIP_TYPE, layer.name)
        return write_archive(target, name, json_blob(CONFIG_TYPE, config), [blob], host)


def build_files_image(
    target: str,
    name: ImageName,
    layers: Sequence[LayerFile],
    run: RunConfig | None = None,
    progress: Progress | None = None,
) -> str:
    """Write an ordinary image whose root filesystem has these files, and return the manifest's digest.

    Every tool and every containerd takes it, even those that do not know wasm layers. Raises ImageError, OSError.
    """
    _check(layers)
    run = run or RunConfig()
    if not run.entrypoint and len(layers) == 1:
        run = replaced(run, entrypoint=(f"/{layers[0].title}",))
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target) or ".") as folder:
        for layer in layers:
            copy = os.path.join(folder, layer.title)
            shutil.copyfile(layer.path, copy)
            os.chmod(copy, 0o755)
        return build_rootfs_image(target, name, folder, run, progress)


def _check(layers: Sequence[LayerFile]) -> None:
    """Refuse layers with the same title: the runtime chooses layers by title."""
    if not layers:
        raise ImageError("no layers: expected at least one module")
    titles: dict[str, str] = {}
    for layer in layers:
        other = titles.setdefault(layer.title, layer.path)
        if other != layer.path:
            raise ImageError(f"{layer.path} and {other} would both be called {layer.title} in the image")


def _diff_id(layer: LayerFile) -> str:
    """Return the digest of a tar layer before compression."""
    if not layer.blob.media_type.endswith("gzip"):
        return layer.blob.digest
    import gzip  # late: 2 ms, and few images have such layers
    import zlib

    digest = hashlib.sha256()
    try:
        with gzip.open(layer.path) as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ImageError(f"{layer.path}: not a whole gzip file: {error}") from None
    return f"sha256:{digest.hexdigest()}"


def _digest_of_digests(layers: Sequence[LayerFile]) -> str:
    joined = " ".join(layer.blob.digest for layer in layers)
    return f"sha256:{hashlib.sha256(joined.encode()).hexdigest()}"


def _created() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(source_date()))
