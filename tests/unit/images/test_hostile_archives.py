"""Archives that are no images, or more than one can check: each is refused with one ImageError, soon."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runwasi.images.image_error import ImageError
from runwasi.images.reader import inspect
from runwasi.oci.image import INDEX_TYPE, MANIFEST_TYPE

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class Layout:
    """An archive in the making."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self.add("oci-layout", LAYOUT)

    def add(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        self.tar.addfile(entry, io.BytesIO(content))

    def special(self, name: str, kind: bytes, target: str = "", **pax: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.pax_headers = kind, target, dict(pax)
        self.tar.addfile(entry)

    def blob(self, content: bytes, media_type: str = MANIFEST_TYPE) -> dict[str, Any]:
        described = of(content, media_type)
        self.add(path_of(described), content)
        return described

    def index(self, *entries: dict[str, Any]) -> None:
        self.add("index.json", index_of(*entries))

    def close(self) -> None:
        self.tar.close()
        self._file.close()


def of(content: bytes, media_type: str = MANIFEST_TYPE) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def path_of(described: dict[str, Any]) -> str:
    return f"blobs/{described['digest'].replace(':', '/')}"


def index_of(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}).encode()


def manifest_of(config: dict[str, Any], *layers: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()


def link(kind: bytes, target: str) -> Callable[[Layout], None]:
    """Make the manifest a link."""

    def make(layout: Layout) -> None:
        described = of(b"{}")
        layout.index(described)
        layout.special(path_of(described), kind, target.replace("ITSELF", path_of(described)))

    return make


def index_is_a_link(layout: Layout) -> None:
    layout.special("index.json", tarfile.SYMTYPE, "index.json")


def wrong_digest(layout: Layout) -> None:
    described = of(b"{}")
    layout.index(described)
    layout.add(path_of(described), b"[]")


def unknown_digest(layout: Layout) -> None:
    layout.index({**of(b"{}"), "digest": "md5:" + "0" * 32})


def digest_with_a_path(layout: Layout) -> None:
    layout.index({**of(b"{}"), "digest": "sha256:../../../etc/passwd"})


def second_entry_of_a_name(layout: Layout) -> None:
    layout.index(layout.blob(manifest_of(of(b"config"))))
    layout.blob(b"config")
    layout.add(path_of(of(b"config")), b"CONFIG")


def large_manifest(layout: Layout) -> None:
    layout.index(layout.blob(b" " * (100 << 20)))


def large_index(layout: Layout) -> None:
    layout.add("index.json", b"[" * (5 << 20))


def deep_index(layout: Layout) -> None:
    layout.add("index.json", b"[" * (1 << 20))


def nested_indexes(layout: Layout) -> None:
    described = layout.blob(index_of(), INDEX_TYPE)
    for _ in range(10):
        described = layout.blob(index_of(described), INDEX_TYPE)
    layout.index(described)


def many_manifests(layout: Layout) -> None:
    described = layout.blob(manifest_of(layout.blob(b"config")))
    layout.index(*[described] * 10_001)


def holes(layout: Layout) -> None:
    described = {**of(b""), "size": 1 << 50}
    layout.index(described)
    layout.special(
        path_of(described), tarfile.REGTYPE, **{
            "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0",
            "GNU.sparse.size": str(1 << 50),
        },
    )  # fmt: skip


ATTACKS = {
    "link-to-itself": link(tarfile.SYMTYPE, "ITSELF"), "link-out": link(tarfile.SYMTYPE, "/etc/passwd"),
    "link-to-nothing": link(tarfile.SYMTYPE, "nothing"), "hard-link-to-itself": link(tarfile.LNKTYPE, "ITSELF"),
    "hard-link-to-nothing": link(tarfile.LNKTYPE, "nothing"), "device": link(tarfile.CHRTYPE, ""),
    "fifo": link(tarfile.FIFOTYPE, ""), "folder": link(tarfile.DIRTYPE, ""), "index-is-a-link": index_is_a_link,
    "wrong-digest": wrong_digest, "unknown-digest": unknown_digest, "digest-with-a-path": digest_with_a_path,
    "second-entry-of-a-name": second_entry_of_a_name, "large-manifest": large_manifest, "large-index": large_index,
    "deep-index": deep_index, "nested-indexes": nested_indexes, "many-manifests": many_manifests, "holes": holes,
}  # fmt: skip


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_archive_is_refused(attack: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    layout = Layout(path)
    ATTACKS[attack](layout)
    layout.close()
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    with pytest.raises(ImageError):
        inspect(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.tar"]


def test_indexes_that_name_each_other_many_times_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    layout = Layout(path)
    described = layout.blob(manifest_of(layout.blob(b"config"), of(b"config")))
    for _ in range(6):
        described = layout.blob(index_of(*[described] * 50), INDEX_TYPE)
    layout.index(described)
    layout.close()
    assert len(inspect(str(path))) == 50
