"""Chooses the program among an image's wasm layers; never silently picks the first."""

from __future__ import annotations

from runwasi.engines.annotations import LAYER, path_of
from runwasi.engines.engine import CannotHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHORTEST_DIGEST = 7
_NOT_IN_TEXT = {0: None, ord("\n"): " "}


class Layer:
    """A wasm layer of the container's image.

    title       its name in the image (annotation org.opencontainers.image.title), "" if it has none
    media_type  as in the manifest
    digest      "sha256:HEX" of the module's bytes, decompressed
    blob        "sha256:HEX" of the layer in the content store; the same unless it is compressed
    fd          readable descriptor of the module's bytes
    kept        keys of the compiled modules that the content store keeps for this layer
    """

    __slots__ = ("blob", "digest", "fd", "kept", "media_type", "title")

    def __init__(
        self,
        title: str,
        media_type: str,
        digest: str,
        blob: str,
        fd: int,
        kept: Sequence[str] = (),
    ) -> None:
        self.title = title
        self.media_type = media_type
        self.digest = digest
        self.blob = blob or digest
        self.fd = fd
        self.kept = tuple(kept)

    def to_text(self) -> str:
        """Return everything but the descriptor as text, which another process reads with from_text."""
        # An image chose the title, and must not be able to shift the fields behind it.
        title = self.title.translate(_NOT_IN_TEXT)
        return "\n".join((title, self.media_type, self.digest, self.blob, " ".join(self.kept)))

    @classmethod
    def from_text(cls, text: str, fd: int) -> Layer:
        """Return the layer that to_text described, with its descriptor."""
        title, media_type, digest, blob, kept = text.split("\n")
        return cls(title, media_type, digest, blob, fd, kept.split())

    @property
    def name(self) -> str:
        """Its title, or enough of its digest to identify it."""
        return self.title or self.digest[: len("sha256:") + 12]


class Choice:
    """The layer to run, the others in the manifest's order, and the exported function to call."""

    __slots__ = ("function", "others", "program")

    def __init__(self, program: Layer, others: tuple[Layer, ...], function: str) -> None:
        self.program = program
        self.others = others
        self.function = function


def choose(layers: Sequence[Layer], arg0: str, annotations: Mapping[str, str]) -> Choice:
    """Choose the layer that the annotation names, else the only one, else the one that arg0 names.

    arg0 is `NAME` or `NAME#function`; NAME is a title, a path that ends in one, or a digest. Raises CannotHandle.
    """
    name, _, function = arg0.partition("#")
    wanted = LAYER.of(annotations)
    if wanted:
        program = _named(layers, wanted, f"{path_of(LAYER.name)} {wanted}")
    elif len(layers) == 1:
        program = layers[0]
    else:
        program = _named(layers, name, f"the command {name}")
    others = tuple(layer for layer in layers if layer is not program)
    return Choice(program, others, function or "_start")


def _named(layers: Sequence[Layer], name: str, source: str) -> Layer:
    """Return the only layer that matches a name; the strictest match wins. Raises CannotHandle."""
    for matches in (_has_title, _has_digest, _has_path, _has_last_part):
        found = [layer for layer in layers if matches(layer, name)]
        if len(found) == 1:
            return found[0]
        if found:
            digests = ", ".join(layer.digest for layer in found)
            raise CannotHandle(f"{source} names {len(found)} wasm layers of the image: {digests}")
    offered = ", ".join(layer.name for layer in layers)
    raise CannotHandle(f"{source} names none of the image's wasm layers: {offered}")


def _has_title(layer: Layer, name: str) -> bool:
    return bool(name) and layer.title == name


def _has_digest(layer: Layer, name: str) -> bool:
    digits = name.removeprefix("sha256:")
    return len(digits) >= _SHORTEST_DIGEST and any(
        digest.removeprefix("sha256:").startswith(digits) for digest in (layer.digest, layer.blob)
    )


def _has_path(layer: Layer, name: str) -> bool:
    return bool(layer.title) and _relative(layer.title) == _relative(name)


def _has_last_part(layer: Layer, name: str) -> bool:
    return bool(layer.title) and _last_part(layer.title) == _last_part(name)


def _relative(path: str) -> str:
    return path.removeprefix("./").lstrip("/")


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]
