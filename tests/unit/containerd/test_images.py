"""From a container to its image's wasm layers, against a content store in memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runwasi.containerd import image_layers
from runwasi.containerd.blobs import open_blob
from runwasi.containerd.client import Containerd
from runwasi.containerd.containerd_error import ContainerdError, NotInContainerd
from runwasi.containerd.images import image_of, wasm_layers
from runwasi.engines.engine import Engine
from runwasi.engines.module_cache import ModuleCache
from runwasi.oci.image import (
    CONFIG_TYPE,
    DOCKER_INDEX_TYPE,
    INDEX_TYPE,
    LAYER_GZIP_TYPE,
    MANIFEST_TYPE,
    WASM_COMPONENT_LAYER_TYPE,
    WASM_CONFIG_TYPE,
    WASM_TYPE,
)
from runwasi.wire.messages import content
from runwasi.wire.messages.types import Descriptor
from tests.support.zstd_frames import stored_as_zstd

NAME = "localhost/image:latest"
Json = dict[str, Any]


class MemoryStore(Containerd):
    """Answers in place of containerd."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.containers = {"c": NAME}
        self.target = Descriptor()

    def image_name(self, container_id: str) -> str:
        return self.containers[container_id]

    def image_target(self, name: str) -> Descriptor:
        assert name == NAME
        return self.target

    def content_root(self) -> str:
        return ""

    def info(self, digest: str) -> content.Info:
        return content.Info(digest=digest)

    def read(self, digest: str) -> Iterator[bytes]:
        if digest not in self.contents:
            raise NotInContainerd(f"content {digest}: not found")
        content = self.contents[digest]
        yield content[:10]
        yield content[10:]

    def add(self, content: bytes, media_type: str, **more: object) -> Json:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.contents[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

    def add_document(self, document: Json, media_type: str, **more: object) -> Json:
        return self.add(json.dumps(document).encode(), media_type, **more)

    def add_manifest(self, config: Json, *layers: Json, **more: object) -> Json:
        manifest = {"schemaVersion": 2, "config": config, "layers": list(layers)}
        return self.add_document(manifest, MANIFEST_TYPE, **more)

    def add_index(self, *manifests: Json, media_type: str = INDEX_TYPE) -> Json:
        return self.add_document({"schemaVersion": 2, "manifests": list(manifests)}, media_type)

    def layers(self, target: Json, *engine_types: str) -> list[str]:
        self.target = Descriptor(media_type=target["mediaType"], digest=target["digest"], size=target["size"])
        return [layer.digest for layer in wasm_layers(self, NAME, engine_types)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def platform(name: str) -> Json:
    system, architecture = name.split("/")
    return {"os": system, "architecture": architecture}


def config(store: MemoryStore, name: str = "wasip1/wasm") -> Json:
    return store.add_document(platform(name) | {"config": {}}, CONFIG_TYPE)


@pytest.mark.parametrize("name", ["wasip1/wasm", "wasi/wasm", "linux/amd64"])
def test_wasm_layers_are_found_whatever_system_the_config_names(store: MemoryStore, name: str) -> None:
    rootfs, wasm = store.add(b"tar", LAYER_GZIP_TYPE), store.add(b"wasm", WASM_COMPONENT_LAYER_TYPE)
    assert store.layers(store.add_manifest(config(store, name), rootfs, wasm)) == [wasm["digest"]]


def test_an_artifacts_layers_are_found_in_order(store: MemoryStore) -> None:
    layers = [store.add(bytes((n,)), WASM_TYPE) for n in range(3)]
    artifact = store.add_manifest(store.add(b"{}", WASM_CONFIG_TYPE), *layers)
    assert store.layers(artifact) == [layer["digest"] for layer in layers]


def test_a_compressed_type_and_the_engines_own_type_are_wasm_too(store: MemoryStore) -> None:
    packed = store.add(b"1", f"{WASM_TYPE}+gzip")
    own = store.add(b"2", "application/vnd.engine")
    target = store.add_manifest(config(store), packed, own)
    assert store.layers(target, "application/vnd.engine") == [packed["digest"], own["digest"]]
    assert store.layers(target) == [packed["digest"]]


def test_an_ordinary_image_has_none(store: MemoryStore) -> None:
    rootfs = store.add(b"tar", LAYER_GZIP_TYPE)
    assert store.layers(store.add_manifest(config(store, "linux/amd64"), rootfs)) == []
    assert store.layers(store.add_manifest(config(store, "wasi/wasm"), rootfs)) == []


def test_an_unknown_layer_of_a_wasm_image_is_an_error(store: MemoryStore) -> None:
    foreign = store.add(b"?", "application/x-unknown")
    with pytest.raises(ContainerdError, match=r"has type application/x-unknown, not one of .*wasm"):
        store.layers(store.add_manifest(config(store), foreign))


@pytest.mark.parametrize("media_type", [INDEX_TYPE, DOCKER_INDEX_TYPE])
def test_of_an_index_the_manifest_for_wasm_is_chosen(store: MemoryStore, media_type: str) -> None:
    wasm = store.add(b"wasm", WASM_TYPE)
    native = store.add_manifest(config(store, "linux/amd64"), platform=platform("linux/amd64"))
    wanted = store.add_manifest(config(store), wasm, platform=platform("wasip1/wasm"))
    assert store.layers(store.add_index(native, wanted, media_type=media_type)) == [wasm["digest"]]


def test_an_index_in_an_index_is_followed(store: MemoryStore) -> None:
    wasm = store.add(b"wasm", WASM_TYPE)
    inner = store.add_index(store.add_manifest(config(store), wasm))
    assert store.layers(store.add_index(inner)) == [wasm["digest"]]


def test_a_manifest_of_an_index_that_was_not_pulled_is_skipped(store: MemoryStore) -> None:
    wasm = store.add(b"wasm", WASM_TYPE)
    absent = store.add_manifest(config(store, "wasi/wasm"), platform=platform("wasi/wasm"))
    present = store.add_manifest(config(store), wasm, platform=platform("wasip1/wasm"))
    del store.contents[absent["digest"]]
    index = store.add_index(absent, present)
    assert store.layers(index) == [wasm["digest"]]
    del store.contents[present["digest"]]
    with pytest.raises(NotInContainerd, match=f"manifest {absent['digest']} is missing"):
        store.layers(index)


def test_a_manifest_with_another_digest_is_an_error(store: MemoryStore) -> None:
    target = store.add_manifest(config(store))
    store.contents[target["digest"]] += b" "
    with pytest.raises(ContainerdError, match=f"the content of {target['digest']} is damaged"):
        store.layers(target)


def test_a_config_that_is_not_json_is_an_error(store: MemoryStore) -> None:
    broken = store.add(b"{nonsense", CONFIG_TYPE)
    foreign = store.add(b"?", "application/x-unknown")
    with pytest.raises(ContainerdError, match=rf"{broken['digest']}: \$: is not JSON"):
        store.layers(store.add_manifest(broken, foreign))


def test_a_manifest_that_says_to_be_huge_is_not_read(store: MemoryStore) -> None:
    target = store.add_manifest(config(store))
    with pytest.raises(ContainerdError, match="more than the limit of"):
        store.layers(target | {"size": 1 << 40})


def test_a_target_that_is_no_manifest_is_an_error(store: MemoryStore) -> None:
    with pytest.raises(ContainerdError, match="neither a manifest nor an index but 'text/plain'"):
        store.layers(store.add(b"?", "text/plain"))


def test_too_many_layers_are_an_error(store: MemoryStore) -> None:
    layers = [store.add(bytes((n,)), WASM_TYPE) for n in range(33)]
    with pytest.raises(ContainerdError, match="33 wasm layers, more than the limit of 32"):
        store.layers(store.add_manifest(config(store), *layers))


def test_a_container_without_a_recorded_image_is_told_so(store: MemoryStore) -> None:
    store.containers["docker"] = ""
    assert image_of(store, "c") == NAME
    with pytest.raises(ContainerdError, match=r"no image is recorded for docker .*Docker"):
        image_of(store, "docker")


@pytest.mark.parametrize("packed", [bytes, gzip.compress, stored_as_zstd], ids=["plain", "gzip", "zstd"])
def test_a_blob_comes_as_memory_that_nobody_can_write(store: MemoryStore, packed: Any) -> None:
    module = b"\0asm\1\0\0\0" + os.urandom(3_000_000)
    blob = store.add(packed(module), WASM_TYPE)
    fd, digest = open_blob(store, "", blob["digest"], blob["size"], 1 << 30)
    try:
        assert digest == f"sha256:{hashlib.sha256(module).hexdigest()}"
        assert os.pread(fd, len(module) + 1, 0) == module
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("packed", [bytes, gzip.compress, stored_as_zstd], ids=["plain", "gzip", "zstd"])
def test_a_blob_beyond_the_limit_is_an_error_before_it_is_kept(store: MemoryStore, packed: Any) -> None:
    content = packed(bytes(5_000_000))
    blob = store.add(content, WASM_TYPE)
    with pytest.raises(ContainerdError, match=f"layer {blob['digest']} has .*4000000"):
        open_blob(store, "", blob["digest"], min(blob["size"], 1_000), 4_000_000)


@pytest.mark.parametrize("packed", [gzip.compress, stored_as_zstd], ids=["gzip", "zstd"])
def test_a_compressed_blob_cut_short_is_an_error(store: MemoryStore, packed: Any) -> None:
    blob = store.add(packed(os.urandom(100_000))[:-20], WASM_TYPE)
    with pytest.raises(ContainerdError, match="cannot be decompressed"):
        open_blob(store, "", blob["digest"], blob["size"], 1 << 30)


def test_a_damaged_blob_is_an_error(store: MemoryStore) -> None:
    blob = store.add(b"content", WASM_TYPE)
    store.contents[blob["digest"]] = b"another"
    with pytest.raises(ContainerdError, match="is damaged"):
        open_blob(store, "", blob["digest"], blob["size"], 100)


def test_layers_that_are_small_but_large_together_once_unpacked_are_an_error(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_layers, "MAX_LAYERS", 2_500_000)
    layers = [store.add(gzip.compress(bytes([number]) * 1_000_000), WASM_TYPE) for number in range(3)]
    target = store.add_manifest(store.add_document({}, WASM_CONFIG_TYPE), *layers)
    store.target = Descriptor(media_type=target["mediaType"], digest=target["digest"], size=target["size"])
    engine = cast(Engine, SimpleNamespace(name="none"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ContainerdError, match="its wasm layers have more than 2500000 bytes together"):
        image_layers._all_opened(store, wasm_layers(store, NAME, ()), engine, cast(ModuleCache, None))
    assert os.listdir("/proc/self/fd") == before
