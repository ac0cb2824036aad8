"""Images are what they were told to be, byte for byte the same each time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.images.image_error import ImageError
from runwasi.images.names import image_name, parse_image_name
from runwasi.images.reader import inspect
from runwasi.images.tar_builder import (
    LAYERS_LABEL,
    LayerFile,
    RunConfig,
    build_artifact,
    build_rootfs_image,
    build_wasm_image,
)
from runwasi.images.wasm_file import wasm_kind
from runwasi.oci.image import WASM_COMPONENT_LAYER_TYPE, WASM_CONTENT_LAYER_TYPE

CORE = b"\0asm\1\0\0\0" + b"\1\4\1\x60\0\0"
COMPONENT = b"\0asm\x0d\0\1\0"
NAME = image_name("localhost:5000/team/app", "v1")


def module(folder: Path, name: str = "app.wasm", content: bytes = CORE) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def read(archive: str, name: str) -> Any:
    with tarfile.open(archive) as tar:
        content = tar.extractfile(name)
        assert content is not None
        return json.load(content)


def blob(archive: str, descriptor: Any) -> Any:
    return read(archive, f"blobs/{descriptor['digest'].replace(':', '/')}")


def manifest_and_config(archive: str) -> tuple[Any, Any]:
    (entry,) = read(archive, "index.json")["manifests"]
    manifest = blob(archive, entry)
    return manifest, blob(archive, manifest["config"])


def test_a_wasm_image_names_its_platform_layers_and_entrypoint(tmp_path: Path) -> None:
    target = f"{tmp_path}/i.tar"
    layers = [LayerFile(module(tmp_path)), LayerFile(module(tmp_path, "notes.txt", b"hi"), "text/plain")]
    build_wasm_image(target, NAME, layers, RunConfig(env=("A=b",), cmd=("serve",)))
    manifest, config = manifest_and_config(target)
    assert (config["os"], config["architecture"]) == ("wasip1", "wasm")
    assert config["config"]["Entrypoint"] == ["/app.wasm"]
    assert config["config"]["Cmd"] == ["serve"]
    assert config["config"]["Env"] == ["A=b"]
    assert config["rootfs"] == {"type": "layers", "diff_ids": []}
    assert [layer["mediaType"] for layer in manifest["layers"]] == [WASM_CONTENT_LAYER_TYPE, "text/plain"]
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]]
    assert titles == ["app.wasm", "notes.txt"]


def test_the_index_carries_the_whole_name_and_the_tag(tmp_path: Path) -> None:
    target = f"{tmp_path}/i.tar"
    digest = build_wasm_image(target, NAME, [LayerFile(module(tmp_path))])
    (entry,) = read(target, "index.json")["manifests"]
    assert entry["digest"] == digest
    assert entry["platform"] == {"architecture": "wasm", "os": "wasip1"}
    assert entry["annotations"] == {
        "io.containerd.image.name": "localhost:5000/team/app:v1",
        "org.opencontainers.image.ref.name": "v1",
    }
    assert read(target, "manifest.json")[0]["RepoTags"] == ["localhost:5000/team/app:v1"]


def test_with_several_modules_none_is_silently_the_entrypoint(tmp_path: Path) -> None:
    target = f"{tmp_path}/i.tar"
    layers = [LayerFile(module(tmp_path, name)) for name in ("a.wasm", "b.wasm")]
    build_wasm_image(target, NAME, layers)
    assert "Entrypoint" not in manifest_and_config(target)[1]["config"]


def test_images_of_different_modules_have_different_configs(tmp_path: Path) -> None:
    labels = set()
    for number, content in enumerate((CORE, COMPONENT)):
        target = f"{tmp_path}/{number}.tar"
        build_wasm_image(target, NAME, [LayerFile(module(tmp_path, "app.wasm", content))])
        labels.add(manifest_and_config(target)[1]["config"]["Labels"][LAYERS_LABEL])
    assert len(labels) == 2


def test_only_tars_of_a_root_file_system_have_diff_ids(tmp_path: Path) -> None:
    packed = module(tmp_path, "layer.tar.gz", gzip.compress(b"tar", mtime=0))
    plain = module(tmp_path, "layer.tar", b"tar2")
    layers = [
        LayerFile(packed, "application/vnd.oci.image.layer.v1.tar+gzip"),
        LayerFile(plain, "application/vnd.oci.image.layer.v1.tar"),
        LayerFile(module(tmp_path)),
    ]
    target = f"{tmp_path}/i.tar"
    build_wasm_image(target, NAME, layers)
    diff_ids = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in (b"tar", b"tar2")]
    assert manifest_and_config(target)[1]["rootfs"]["diff_ids"] == diff_ids


@pytest.mark.parametrize(("content", "system"), [(CORE, "wasip1"), (COMPONENT, "wasip2")])
def test_an_artifact_lists_its_layers(tmp_path: Path, content: bytes, system: str) -> None:
    target = f"{tmp_path}/i.tar"
    build_artifact(target, NAME, [LayerFile(module(tmp_path, "app.wasm", content))])
    manifest, config = manifest_and_config(target)
    assert manifest["config"]["mediaType"] == "application/vnd.wasm.config.v0+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/wasm"]
    assert config["layerDigests"] == [layer["digest"] for layer in manifest["layers"]]
    assert (config["os"], config["architecture"]) == (system, "wasm")
    component: dict[str, object] | None = (
        {"exports": [], "imports": [], "target": None} if system == "wasip2" else None
    )
    assert config.get("component") == component


def test_an_artifact_holds_nothing_but_wasm(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"notes.txt: an artifact's layers are WebAssembly"):
        build_artifact(f"{tmp_path}/i.tar", NAME, [LayerFile(module(tmp_path, "notes.txt"), "text/plain")])


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    archives = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = module(folder)
        os.utime(path, (number, number))
        build_wasm_image(f"{folder}/i.tar", NAME, [LayerFile(path)])
        archives.append((folder / "i.tar").read_bytes())
    assert archives[0] == archives[1]


def test_source_date_epoch_dates_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    target = f"{tmp_path}/i.tar"
    build_wasm_image(target, NAME, [LayerFile(module(tmp_path))])
    assert manifest_and_config(target)[1]["created"] == "2023-11-14T22:13:20Z"
    with tarfile.open(target) as tar:
        assert {member.mtime for member in tar} == {1700000000}


def rootfs(folder: Path) -> Path:
    root = folder / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "bin/app").write_bytes(b"#!/bin/sh\n")
    (root / "bin/app").chmod(0o755)
    (root / "bin/link").symlink_to("app")
    os.link(root / "bin/app", root / "bin/same")
    return root


def test_a_folder_becomes_a_layer_with_modes_and_links(tmp_path: Path) -> None:
    target = f"{tmp_path}/i.tar"
    build_rootfs_image(target, NAME, str(rootfs(tmp_path)), RunConfig(entrypoint=("/bin/app",)))
    manifest, config = manifest_and_config(target)
    assert config["os"] == "linux"
    with tarfile.open(target) as tar:
        packed = tar.extractfile(f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}")
        assert packed is not None
        plain = gzip.decompress(packed.read())
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(plain)) as layer:
        assert layer.getnames() == ["bin", "bin/app", "bin/link", "bin/same"]
        assert layer.getmember("bin/app").mode == 0o755
        assert layer.getmember("bin/link").linkname == "app"
        assert layer.getmember("bin/same").islnk()


def test_the_same_folder_gives_the_same_image(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        root = rootfs(folder)
        os.utime(root / "bin/app", (number, number))
        digests.add(build_rootfs_image(f"{folder}/i.tar", NAME, str(root)))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\n", "not WebAssembly: starts with 23 21"),
        (b"(module)", "wat2wasm"),
        (b"\0asm\2\0\0\0", "unknown version"),
        (CORE[:-1], "cut short"),
        (CORE + b"\x20\0", "section 32 at byte 16 does not belong in a core"),
        (CORE + b"\1\xff\xff\xff\xff\xff\xff", "too long"),
        (CORE + b"\1", "cut short"),
    ],
)
def test_a_file_that_is_not_wasm_is_refused_by_name(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=f"app.wasm: .*{why}"):
        LayerFile(module(tmp_path, "app.wasm", content))


@given(st.binary(max_size=100))
def test_any_bytes_are_wasm_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.wasm"
    path.write_bytes(b"\0asm\1\0\0\0" + content)
    try:
        assert wasm_kind(str(path)) == "core"
    except ImageError:
        pass


def test_a_media_type_must_fit_the_kind_of_module(tmp_path: Path) -> None:
    with pytest.raises(
        ImageError, match=f"a core module, but .* is for a component: use {WASM_CONTENT_LAYER_TYPE[:20]}"
    ):
        LayerFile(module(tmp_path), WASM_COMPONENT_LAYER_TYPE)
    component = LayerFile(module(tmp_path, "c.wasm", COMPONENT))
    assert component.blob.media_type == WASM_COMPONENT_LAYER_TYPE


def test_two_layers_of_one_title_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    layers = [LayerFile(module(tmp_path)), LayerFile(module(tmp_path / "sub"))]
    with pytest.raises(ImageError, match=r"would both be called app.wasm"):
        build_wasm_image(f"{tmp_path}/i.tar", NAME, layers)


def test_a_file_that_changes_meanwhile_leaves_no_archive(tmp_path: Path) -> None:
    layer = LayerFile(module(tmp_path))
    module(tmp_path, "app.wasm", COMPONENT + b"\0\4\1\x60\0\0")
    with pytest.raises(ImageError, match=r"app.wasm changed while it was read"):
        build_wasm_image(f"{tmp_path}/i.tar", NAME, [layer])
    assert sorted(os.listdir(tmp_path)) == ["app.wasm"]


@pytest.mark.parametrize(
    "text",
    ["app", "team/app:v1", "localhost:5000/app", "r.example.org:5000/a/b/c:1.2-x", "[::1]:5000/app:v1"],
)
def test_names_with_ports_and_paths_are_taken(text: str) -> None:
    assert str(parse_image_name(text)) == (text if text.rpartition("/")[2].count(":") else f"{text}:latest")


@pytest.mark.parametrize("text", ["", "App", "a//b", "/a", "a/", "a:", "a:b:c", "host:port/a", "a b", "-a"])
def test_names_that_no_registry_takes_are_refused(text: str) -> None:
    with pytest.raises(ImageError):
        parse_image_name(text)


def test_a_summary_tells_names_layers_and_sizes(tmp_path: Path) -> None:
    target = f"{tmp_path}/i.tar"
    digest = build_wasm_image(target, NAME, [LayerFile(module(tmp_path))])
    (image,) = inspect(target)
    assert (image.name, image.platform, image.digest) == (str(NAME), "wasip1/wasm", digest)
    assert [(layer.title, layer.size) for layer in image.layers] == [("app.wasm", len(CORE))]


@pytest.mark.parametrize("offset", range(0, 12_000, 512))
def test_a_damaged_archive_is_said_to_be_so(tmp_path: Path, offset: int) -> None:
    target = tmp_path / "i.tar"
    build_wasm_image(str(target), NAME, [LayerFile(module(tmp_path))])
    whole = target.read_bytes()
    damaged = whole[:offset] + b"\xff" + whole[offset + 1 :]
    target.write_bytes(damaged)
    try:
        images = inspect(str(target))
    except ImageError:
        return
    target.write_bytes(whole)
    assert images == inspect(str(target))  # the byte was none of the images'


@pytest.mark.parametrize("damage", ["cut", "crc", "stream"])
def test_a_damaged_compressed_archive_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    content = bytearray(gzip.compress(os.urandom(5000) + bytes(20000), mtime=0))
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "crc":
        content[-8] ^= 1
    else:
        content[40:60] = b"\xff" * 20
    archive = module(tmp_path, "image.tar.gz", bytes(content))
    with pytest.raises(ImageError, match=r"image\.tar\.gz: not a tar archive"):
        inspect(archive)


def test_a_layer_that_is_damaged_inside_its_compression_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(os.urandom(500), mtime=0))
    content[12:40] = b"\xff" * 28
    layer = LayerFile(
        module(tmp_path, "layer.tar.gz", bytes(content)), "application/vnd.oci.image.layer.v1.tar+gzip"
    )
    with pytest.raises(ImageError, match="not a whole gzip file"):
        build_wasm_image(str(tmp_path / "out.tar"), image_name("app", "v1"), [layer])
