"""Archives that are no images, or more than one can check: each is refused with one ImageError, soon."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runwasi.images import bounded_file
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

    def raw(self, content: bytes) -> None:
        self._file.write(content)
        self.tar.offset += len(content)

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


def many_files(layout: Layout) -> None:
    header = tarfile.TarInfo("file").tobuf(tarfile.USTAR_FORMAT)
    layout.raw(header * 100_000)


def long_header(layout: Layout) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 100 << 20
    layout.raw(header.tobuf(tarfile.GNU_FORMAT))
    layout.raw(b"x" * (100 << 20))


def long_headers(layout: Layout) -> None:
    for number in range(30):
        layout.special("file", tarfile.REGTYPE, **{f"key{number}": "x" * (1 << 20)})


def headers_of_headers(layout: Layout) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    layout.raw((header.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 2000)


def pax(record: bytes) -> Callable[[Layout], None]:
    """Put a pax header with a record as it is before a file."""

    def make(layout: Layout) -> None:
        header = tarfile.TarInfo("pax")
        header.type, header.size = tarfile.XHDTYPE, len(record)
        layout.raw(header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(-len(record) // 512 * -512, b"\0"))
        layout.index()

    return make


def forth_and_back(layout: Layout) -> None:
    """Put a megabyte between each manifest and its config."""
    configs = [bytes([number]) for number in range(50)]
    layout.index(*[layout.blob(manifest_of(of(config))) for config in configs])
    layout.add("between", bytes(1 << 20))
    for config in configs:
        layout.blob(config)


def one_manifest_many_times(layout: Layout) -> None:
    config = layout.blob(b"config")
    described = layout.blob(manifest_of(config, *[config] * 20_000))
    layout.index(*[described] * 9_999)


ATTACKS = {
    "link-to-itself": link(tarfile.SYMTYPE, "ITSELF"), "link-out": link(tarfile.SYMTYPE, "/etc/passwd"),
    "link-to-nothing": link(tarfile.SYMTYPE, "nothing"), "hard-link-to-itself": link(tarfile.LNKTYPE, "ITSELF"),
    "hard-link-to-nothing": link(tarfile.LNKTYPE, "nothing"), "device": link(tarfile.CHRTYPE, ""),
    "fifo": link(tarfile.FIFOTYPE, ""), "folder": link(tarfile.DIRTYPE, ""), "index-is-a-link": index_is_a_link,
    "wrong-digest": wrong_digest, "unknown-digest": unknown_digest, "digest-with-a-path": digest_with_a_path,
    "second-entry-of-a-name": second_entry_of_a_name, "large-manifest": large_manifest, "large-index": large_index,
    "deep-index": deep_index, "nested-indexes": nested_indexes, "many-manifests": many_manifests, "holes": holes,
    "many-files": many_files, "long-header": long_header, "long-headers": long_headers,
    "headers-of-headers": headers_of_headers, "length-of-5000-digits": pax(b"9" * 5000 + b" path=x\n"),
    "map-without-numbers": pax(b"29 GNU.sparse.map=a,b,c,d,e,f\n"),
    "one-manifest-many-times": one_manifest_many_times,
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


BOUNDS: dict[str, tuple[Callable[[Layout], None], str]] = {
    "many-files": (many_files, "its headers have more than 16777216 bytes"),
    "long-header": (long_header, "a header has more than 4194304 bytes"),
    "long-headers": (long_headers, "its headers have more than 16777216 bytes"),
    "one-manifest-many-times": (one_manifest_many_times, "its manifests name more than 100000 layers"),
}


@pytest.mark.parametrize("attack", BOUNDS)
def test_what_no_image_has_is_not_read_to_its_end(attack: str, tmp_path: Path) -> None:
    make, words = BOUNDS[attack]
    with pytest.raises(ImageError, match=f"{compressed(make, tmp_path)}: {words}"):
        inspect(f"{tmp_path}/image.tar")


def compressed(make: Callable[[Layout], None], folder: Path) -> Path:
    path = folder / "image.tar"
    layout = Layout(path)
    make(layout)
    layout.close()
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return path


@pytest.mark.parametrize(
    ("name", "begin"),
    [("xz", lzma.compress(b"")), ("bzip2", bz2.compress(b"")), ("zstd", b"\x28\xb5\x2f\xfd")],
)
def test_a_compression_that_is_not_read_is_named(name: str, begin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(begin)
    words = f"{path}: is compressed with {name}; only plain and gzip archives are read"
    with pytest.raises(ImageError, match=words):
        inspect(str(path))


def test_an_archive_is_not_unpacked_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compressed(forth_and_back, tmp_path)
    assert len(inspect(str(path))) == 50
    monkeypatch.setattr(bounded_file, "_UNPACKED", 20 << 20)
    monkeypatch.setattr(bounded_file, "_UNPACKED_EACH", 0)
    with pytest.raises(ImageError, match=f"{path}: it unpacks to far more than an image has"):
        inspect(str(path))


def test_indexes_that_name_each_other_many_times_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    layout = Layout(path)
    described = layout.blob(manifest_of(layout.blob(b"config"), of(b"config")))
    for _ in range(6):
        described = layout.blob(index_of(*[described] * 50), INDEX_TYPE)
    layout.index(described)
    layout.close()
    assert len(inspect(str(path))) == 50
