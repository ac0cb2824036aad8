"""Images of wasm made by our own builder, and the questions tests ask of a content store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from devtools.containerd import Containerd
from runwasi.containerd.artefacts import GC_REFERENCE, PRECOMPILED
from runwasi.engines.module_cache import DEFAULT_ROOT
from runwasi.images.names import parse_image_name
from runwasi.images.tar_builder import LayerFile, build_artifact, build_wasm_image

_CUSTOM_SECTION = 0


def unlike_any_other(module: bytes) -> bytes:
    """The same module with a custom section of its own, so that no cache knows it."""
    content = b"\x04test" + os.urandom(32)
    return module + bytes((_CUSTOM_SECTION, len(content))) + content


def wasm_image(folder: Path, name: str, layers: Sequence[tuple[str, str, bytes]]) -> Path:
    """Write an image of (title, media type or "" for the fitting one, content) and return its archive."""
    archive = folder / f"{name.replace('/', '_').replace(':', '_')}.tar"
    build_wasm_image(str(archive), parse_image_name(name), _files(folder, layers))
    return archive


def wasm_artifact(folder: Path, name: str, modules: Sequence[tuple[str, bytes]]) -> Path:
    """Write a wasm OCI artifact of (title, module) and return its archive."""
    archive = folder / f"{name.replace('/', '_').replace(':', '_')}.tar"
    layers = [(title, "", module) for title, module in modules]
    build_artifact(str(archive), parse_image_name(name), _files(folder, layers))
    return archive


def _files(folder: Path, layers: Sequence[tuple[str, str, bytes]]) -> list[LayerFile]:
    files = []
    for title, media_type, content in layers:
        path = folder / title
        path.write_bytes(content)
        files.append(LayerFile(str(path), media_type))
    return files


def labels_of(containerd: Containerd, digest: str) -> dict[str, str]:
    """The labels of a blob in the content store."""
    return all_labels(containerd)[digest]


def all_labels(containerd: Containerd) -> dict[str, dict[str, str]]:
    """The labels of every blob in the content store by its digest, as they are at one moment."""
    lines = (line.split("\t") for line in containerd.ctr("content", "ls").stdout.splitlines()[1:])
    return {
        digest: dict(label.split("=", 1) for label in labels.split(",") if "=" in label)
        for digest, *_, labels in lines
    }


def artefact_of(containerd: Containerd, layer: str) -> tuple[str, str]:
    """The key and the digest of what wasmtime compiled of a layer."""
    labels = labels_of(containerd, layer)
    ((key, digest),) = (
        (label.rpartition("/")[2], value)
        for label, value in labels.items()
        if label.startswith(f"{PRECOMPILED}/wasmtime/")
    )
    assert labels[f"{GC_REFERENCE}.{key}"] == digest
    return key, digest


def blobs(containerd: Containerd) -> set[str]:
    """Digests of all there is in the content store."""
    return set(containerd.ctr("content", "ls", "-q").stdout.split())


def cache_entry(key: str) -> Path:
    """The artefact's file in this node's cache; its inode changes when it is compiled again."""
    return Path(DEFAULT_ROOT) / "modules" / key


def forget(key: str) -> None:
    """Take an artefact out of this node's cache."""
    for path in (cache_entry(key), cache_entry(f"{key}.sum")):
        path.unlink(missing_ok=True)
