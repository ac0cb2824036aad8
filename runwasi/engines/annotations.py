"""Our own annotations: a table with each name, the values that it takes, and how they are read.

docs/annotations.md describes them, in the same order. Other runtimes' names are in annotation_names.
"""

from __future__ import annotations

from runwasi.engines.annotation_names import PREFIX
from runwasi.engines.engine import CannotHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class BadAnnotation(CannotHandle):
    """An unknown annotation, or one with an invalid value; `name` and `why` say which and why."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{path_of(name)}: {why}")
        self.name = name
        self.why = why


def path_of(name: str) -> str:
    """Return an annotation's path in config.json, as errors write it."""
    return f"$.annotations[{quoted(name)}]"


def quoted(name: str) -> str:
    """Return a name between double quotes, as in JSON and TOML; nothing in it can end a line of a log."""
    plain = (letter if letter.isascii() and letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    return '"' + "".join(plain).replace('"', '\\"') + '"'


class Annotation:
    """An annotation: its name, and descriptions of its values and of the default."""

    __slots__ = ("default", "name", "values")

    def __init__(self, name: str, values: str, default: str) -> None:
        self.name = name
        self.values = values
        self.default = default

    def read(self, text: str) -> object:
        """Parse a value. Raises BadAnnotation."""
        raise NotImplementedError

    def _bad(self, text: str, why: str) -> BadAnnotation:
        return BadAnnotation(self.name, f"{text!r} {why}")


class Number(Annotation):
    """A whole number, optionally with the suffix Ki, Mi or Gi."""

    __slots__ = ("least", "most")

    def __init__(
        self, name: str, values: str, default: str, *, least: int = 0, most: int = (1 << 63) - 1
    ) -> None:
        super().__init__(name, values, default)
        self.least = least
        self.most = most

    def read(self, text: str) -> int:
        """Return the number. Raises BadAnnotation."""
        digits, unit = (text[:-2], _UNITS[text[-2:]]) if text[-2:] in _UNITS else (text, 1)
        if not (digits.isascii() and digits.isdigit() and len(digits) < _DIGITS):
            raise self._bad(text, "is not a whole number")
        number = int(digits) * unit
        if not self.least <= number <= self.most:
            raise self._bad(text, f"is not between {self.least} and {self.most}")
        return number

    def of(self, annotations: Mapping[str, str]) -> int | None:
        """Return the container's number, None by default. Raises BadAnnotation."""
        text = annotations.get(self.name)
        return None if text is None else self.read(text)


_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_DIGITS = 20  # as many as the largest number has; int() is slow for very many


class Seconds(Annotation):
    """A number of seconds above 0, fractions allowed."""

    __slots__ = ()

    def read(self, text: str) -> float:
        """Return the seconds. Raises BadAnnotation."""
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 1e9:
            raise self._bad(text, "is not a number of seconds")
        return seconds

    def of(self, annotations: Mapping[str, str]) -> float | None:
        """Return the container's seconds, None by default. Raises BadAnnotation."""
        text = annotations.get(self.name)
        return None if text is None else self.read(text)


class Switch(Annotation):
    """A switch: on or off."""

    __slots__ = ()

    def __init__(self, name: str, *, default: bool) -> None:
        super().__init__(name, "`on`, `off`", "on" if default else "off")

    def read(self, text: str) -> bool:
        """Return whether it is on. Raises BadAnnotation."""
        if text not in ("on", "off"):
            raise self._bad(text, "is neither on nor off")
        return text == "on"

    def of(self, annotations: Mapping[str, str]) -> bool:
        """Return whether it is on for the container. Raises BadAnnotation."""
        return self.read(annotations.get(self.name, self.default))


class Folders(Annotation):
    """Folders of the container, with the names by which the guest knows them."""

    __slots__ = ()

    def read(self, text: str) -> tuple[tuple[str, str], ...]:
        """Return (folder, guest's name) in order. Raises BadAnnotation."""
        pairs = []
        for pair in filter(None, text.split(",")):
            guest, separator, folder = pair.partition("=")
            if not (separator and guest and folder.startswith("/")) or "\0" in pair:
                raise self._bad(pair, "is not GUEST=/FOLDER")
            pairs.append((folder, guest))
        return tuple(pairs)

    def of(self, annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...] | None:
        """Return the container's folders, None by default. Raises BadAnnotation."""
        text = annotations.get(self.name)
        return None if text is None else self.read(text)


class Text(Annotation):
    """Any non-empty text."""

    __slots__ = ()

    def read(self, text: str) -> str:
        """Return the text. Raises BadAnnotation."""
        if not text:
            raise self._bad(text, "is empty")
        return text

    def of(self, annotations: Mapping[str, str]) -> str:
        """Return the container's text, "" by default. Raises BadAnnotation."""
        text = annotations.get(self.name)
        return "" if text is None else self.read(text)


class Release(Annotation):
    """An unsafe annotation: its only valid word gives up a confinement."""

    __slots__ = ("word",)

    def __init__(self, name: str, word: str, default: str) -> None:
        super().__init__(name, f"`{word}`", default)
        self.word = word

    def read(self, text: str) -> bool:
        """Return True for the only valid word. Raises BadAnnotation."""
        if text != self.word:
            raise self._bad(text, f"is not {self.word}, the only valid value")
        return True

    def of(self, annotations: Mapping[str, str]) -> bool:
        """Return whether the container gives the confinement up. Raises BadAnnotation."""
        text = annotations.get(self.name)
        return text is not None and self.read(text)


_BYTES = "bytes, or with `Ki`, `Mi`, `Gi`"

FUEL = Number("io.runwasi.fuel", "a whole number", "unlimited")
TIMEOUT = Seconds("io.runwasi.timeout", "seconds", "unlimited")
MEMORY_MAX = Number("io.runwasi.memory.max", _BYTES, "the memory limit, less the engine's own share")
MEMORY_TRAP = Switch("io.runwasi.memory.trap", default=True)
TABLE_MAX = Number("io.runwasi.table.elements.max", "a whole number", "unlimited")
TABLES_MAX = Number("io.runwasi.tables.max", "a whole number", "10000")
PREOPENS = Folders("io.runwasi.preopens", "`GUEST=/FOLDER,…`", "`/=/`")
NETWORK = Switch("io.runwasi.network", default=True)
HTTP_WORKERS = Number(
    "io.runwasi.http.workers", "1 to 1024", "one for each CPU, 8 at most", least=1, most=1024
)
HTTP_ACCESS_LOG = Switch("io.runwasi.http.access-log", default=False)
LAYER = Text("io.runwasi.layer", "a title or digest", "the only one, or as the command says")
CAPABILITIES = Release("io.runwasi.unsafe.capabilities", "spec", "none")
SECCOMP = Release("io.runwasi.unsafe.seccomp", "unconfined", "runwasi's filter")

OURS = {
    annotation.name: annotation
    for annotation in (
        FUEL,
        TIMEOUT,
        MEMORY_MAX,
        MEMORY_TRAP,
        TABLE_MAX,
        TABLES_MAX,
        PREOPENS,
        NETWORK,
        HTTP_WORKERS,
        HTTP_ACCESS_LOG,
        LAYER,
        CAPABILITIES,
        SECCOMP,
    )
}

_RENAMED = {
    "io.runwasi.capabilities": CAPABILITIES.name,
    "io.runwasi.seccomp": SECCOMP.name,
}


def check(annotations: Mapping[str, str]) -> None:
    """Refuse unknown names with our prefix, and invalid values. Raises BadAnnotation."""
    for name, text in annotations.items():
        if name.startswith(PREFIX):
            _known(name).read(text)


def _known(name: str) -> Annotation:
    found = OURS.get(name)
    if found is None:
        raise BadAnnotation(name, _advice(name))
    return found


def _advice(name: str) -> str:
    if name in _RENAMED:
        return f"is now called {_RENAMED[name]}, and the node's operator has to allow it"
    from difflib import get_close_matches  # late: only for an error

    near = get_close_matches(name[:200], OURS, n=1, cutoff=0.6)
    if near:
        return f"there is no such annotation; did you mean {near[0]}?"
    return f"there is no such annotation; known are {', '.join(OURS)}"
