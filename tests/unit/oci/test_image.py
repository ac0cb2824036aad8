"""Image documents."""

from __future__ import annotations

import pytest

from runwasi.oci.decode import SpecError, decode
from runwasi.oci.encode import to_json
from runwasi.oci.image import Descriptor, ImageConfig, Index, Manifest, OciLayout, WasmConfig

DIGEST = "sha256:" + "0123456789abcdef" * 4
DESCRIPTOR = {"mediaType": "application/wasm", "digest": DIGEST, "size": 3}


def test_an_index_keeps_its_platforms() -> None:
    platform = {
        "architecture": "wasm",
        "os": "wasip1",
        "os.version": "1",
        "os.features": ["a"],
        "variant": "v",
    }
    document = {"schemaVersion": 2, "manifests": [{**DESCRIPTOR, "platform": platform}]}
    index = decode(Index, document)
    assert index.manifests[0].platform is not None
    assert index.manifests[0].platform.os_version == "1"
    assert to_json(index) == document


def test_a_manifest_may_be_an_artifact_without_layers() -> None:
    document = {"schemaVersion": 2, "artifactType": "a/b", "config": DESCRIPTOR, "layers": []}
    assert decode(Manifest, document).layers == ()


def test_a_configuration_made_by_docker_is_read() -> None:
    config = decode(
        ImageConfig,
        {
            "architecture": "wasm",
            "os": "wasi",
            "config": {"Cmd": None, "Entrypoint": ["/a.wasm"], "Volumes": {"/v": {}}, "Hostname": ""},
            "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
            "history": [{"created_by": "x", "empty_layer": True}],
            "docker_version": "20.10",
        },
    )
    assert config.config.entrypoint == ("/a.wasm",)
    assert config.config.cmd == ()
    assert config.history[0].empty_layer is True


def test_a_wasm_artifacts_configuration_is_read() -> None:
    config = decode(WasmConfig, {"architecture": "wasm", "os": "wasip2", "layerDigests": [DIGEST]})
    assert config.layer_digests == (DIGEST,)


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:ff", DIGEST.upper(), DIGEST + "0", "../x:y", "a:../b", ".a:b", "nocolon", "a:é"],
)
def test_an_invalid_digest_is_refused(digest: str) -> None:
    with pytest.raises(SpecError, match=r"\$\.digest: .* is not a digest"):
        decode(Descriptor, {**DESCRIPTOR, "digest": digest})


@pytest.mark.parametrize("digest", ["sha512:" + "a" * 128, "blake3+x:AbC_-=", "multihash:z"])
def test_other_algorithms_are_accepted(digest: str) -> None:
    assert decode(Descriptor, {**DESCRIPTOR, "digest": digest}).digest == digest


def test_only_the_known_versions_are_accepted() -> None:
    with pytest.raises(SpecError, match=r"\$\.schemaVersion"):
        decode(Index, {"schemaVersion": 1, "manifests": []})
    with pytest.raises(SpecError, match=r"\$\.imageLayoutVersion"):
        decode(OciLayout, {"imageLayoutVersion": "2.0.0"})
