"""Makes images without a registry: OCI archives that containerd, Podman and Docker all import."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devtools.places import BUSYBOX

Json = Any

_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]  # GOARCH of this machine


def busybox_layer(extra: Mapping[str, bytes] | None = None) -> bytes:
    """A tar of a root filesystem with busybox, its applets, and the extra files by their paths."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    layer = _Layer()
    for folder in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin"):
        layer.add_folder(folder)
    layer.add_file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
    for applet in applets:
        if applet != "busybox":
            layer.add_link(f"bin/{applet}", "busybox")
    layer.add_file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/tmp:/bin/sh\n")
    layer.add_file("etc/group", b"root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n")
    for path, content in (extra or {}).items():
        layer.add_file(path, content, mode=0o755)
    return layer.tar()


def files_layer(files: Mapping[str, bytes]) -> bytes:
    """A tar of just these files, executable, by their paths."""
    layer = _Layer()
    for path, content in files.items():
        layer.add_file(path, content, mode=0o755)
    return layer.tar()


def tree_layer(folder: Path) -> bytes:
    """A tar of everything below a folder, as root's; only the content decides its bytes."""
    layer = _Layer()
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            layer.add_link(name, str(path.readlink()))
        elif path.is_dir():
            layer.add_folder(name)
        else:
            layer.add_file(name, path.read_bytes(), mode=path.stat().st_mode & 0o777)
    return layer.tar()


def write_image(
    target: Path,
    name: str,
    layer: bytes,
    *,
    command: Sequence[str],
    entrypoint: Sequence[str] = (),
    user: str = "",
    annotations: Mapping[str, str] | None = None,
    architecture: str = _ARCHITECTURE,
) -> None:
    """Write an image of one layer as an OCI archive with Docker's manifest.json beside the index.

    The annotations are its manifest's, which Podman hands on to containers.
    """
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Cmd": list(command),
            "Entrypoint": list(entrypoint),
            "Env": ["PATH=/bin:/usr/bin"],
            "User": user,
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = _Blobs()
    config_descriptor = blobs.add(_encode(config), "application/vnd.oci.image.config.v1+json")
    packed = gzip.compress(layer, compresslevel=1, mtime=0)
    layer_descriptor = blobs.add(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": config_descriptor,
        "layers": [layer_descriptor],
        "annotations": dict(annotations or {}),
    }
    manifest_descriptor = blobs.add(_encode(manifest), manifest_type)
    manifest_descriptor["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = {"schemaVersion": 2, "manifests": [manifest_descriptor]}
    docker = [
        {
            "Config": _blob_path(config_descriptor["digest"]),
            "RepoTags": [name],
            "Layers": [_blob_path(layer_descriptor["digest"])],
        }
    ]
    archive = _Layer()
    archive.add_file("oci-layout", _encode({"imageLayoutVersion": "1.0.0"}))
    archive.add_file("index.json", _encode(index))
    archive.add_file("manifest.json", _encode(docker))
    for digest, content in blobs.contents.items():
        archive.add_file(_blob_path(digest), content)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".new")
    unfinished.write_bytes(archive.tar())
    unfinished.replace(target)


class _Blobs:
    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def add(self, content: bytes, media_type: str) -> dict[str, Json]:
        digest = _digest(content)
        self.contents[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content)}


class _Layer:
    """A tar being written, the same bytes for the same content."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add_folder(self, path: str) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
        self._tar.addfile(entry)

    def add_file(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(content), mode
        self._tar.addfile(entry, io.BytesIO(content))

    def add_link(self, path: str, to: str) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        self._tar.addfile(entry)

    def tar(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def _encode(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
