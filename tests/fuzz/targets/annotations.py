"""Annotations: names and values as images and pods bring them, and the choice of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runwasi.engines import annotations as known_annotations
from runwasi.engines import layer_choice
from runwasi.engines.annotation_names import PREFIX
from runwasi.engines.engine import CannotHandle
from runwasi.engines.layer_choice import Layer
from tests.fuzz.harness import Pieces, short

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (CannotHandle,)

_NAMES = list(known_annotations.OURS)


def run(data: bytes) -> None:
    pieces = Pieces(data)
    name, value = pieces.short().decode("utf-8", "replace"), pieces.short().decode("utf-8", "replace")
    ours = pieces.choice((*_NAMES, PREFIX + name, name))
    titles = [pieces.short().decode("utf-8", "replace") for _ in range(pieces.number(4))]
    layers = [
        Layer(title, "application/wasm", f"sha256:{number:064x}", "", -1)
        for number, title in enumerate(titles)
    ]
    for layer in layers:
        again = Layer.from_text(layer.to_text(), -1)
        assert (again.digest, again.media_type, again.blob) == (layer.digest, layer.media_type, layer.blob)
    given = {ours: value}
    try:
        known_annotations.check(given)
    except known_annotations.BadAnnotation as bad:
        text = str(bad)
        assert text.isprintable() or "\n" not in text
        raise
    for known in known_annotations.OURS.values():
        known.of(given)
    if layers:
        layer_choice.choose(layers, name, given)


def seeds() -> Iterator[bytes]:
    values = (b"1Gi", b"1.5", b"on", b"/data=/srv,/=/", b"app.wasm", b"spec", b"unconfined", b"off", b"3")
    for number in range(len(_NAMES) + 2):
        for value in values[number % 3 :: 3]:
            yield (
                short(b"app.wasm#run")
                + short(value)
                + bytes((number, 2))
                + short(b"app.wasm")
                + short(b"b/c\n")
            )
