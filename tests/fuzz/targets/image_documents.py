"""The JSON of images: index, manifest, configurations and layout; and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runwasi.images.image_error import ImageError
from runwasi.images.names import parse_image_name
from runwasi.oci.decode import SpecError, decode, parse_json
from runwasi.oci.encode import dumps
from runwasi.oci.image import ImageConfig, Index, Manifest, OciLayout, WasmConfig
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (SpecError, ImageError)

_RECORDS = (Index, Manifest, ImageConfig, WasmConfig, OciLayout)
_DIGEST = "sha256:" + "0" * 64


def run(data: bytes) -> None:
    pieces = Pieces(data)
    number = pieces.number(len(_RECORDS) + 1)
    content = pieces.rest()
    if number == len(_RECORDS):
        name = parse_image_name(content.decode("utf-8", "surrogateescape"))
        assert parse_image_name(str(name)) == name
        return
    record = decode(_RECORDS[number], parse_json(content))
    assert decode(_RECORDS[number], parse_json(dumps(record).encode())) == record


def seeds() -> Iterator[bytes]:
    blob = f'{{"mediaType":"application/wasm","digest":"{_DIGEST}","size":9,"annotations":{{"a":"b"}}}}'
    platform = '"os":"linux","architecture":"amd64"'
    texts = (
        f'{{"schemaVersion":2,"manifests":[{blob}]}}',
        f'{{"schemaVersion":2,"config":{blob},"layers":[{blob}],"annotations":{{}}}}',
        f'{{{platform},"config":{{"Env":["A=b"],"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":["{_DIGEST}"]}}}}',
        f'{{"os":"wasip2","architecture":"wasm","layerDigests":["{_DIGEST}"],"component":{{"exports":["a"]}}}}',
        '{"imageLayoutVersion":"1.0.0"}',
        "registry.example:5000/team/app:v1.2",
    )
    for number, text in enumerate(texts):
        yield bytes((number,)) + text.encode()
