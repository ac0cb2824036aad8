"""Reads the names that a component imports and exports, for an artifact's config.

Source: component-model, Binary.md, import and export definitions.
"""

from __future__ import annotations

import mmap

from runwasi.images.image_error import ImageError
from runwasi.images.wasm_file import leb128, sections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.images.wasm_file import Bytes

_IMPORTS, _EXPORTS = 10, 11


class ComponentInterface:
    """The names of a component's imports and exports, in its own order."""

    __slots__ = ("exports", "imports")

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.exports: list[str] = []


def interface_of_file(path: str) -> ComponentInterface:
    """Read a component's imports and exports. Raises ImageError, OSError."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return interface_of(content)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None


def interface_of(content: Bytes) -> ComponentInterface:
    """Read the outermost component's imports and exports. Raises ImageError."""
    found = ComponentInterface()
    for section, start, end in sections(content):
        if section not in (_IMPORTS, _EXPORTS):
            continue
        reader = _SectionReader(content, start)
        for _ in range(reader.number()):
            if section == _IMPORTS:
                found.imports.append(reader.name())
                reader.skip_description()
            else:
                found.exports.append(reader.name())
                reader.skip_exported()
        if reader.at != end:
            raise ImageError(
                f"damaged WebAssembly: section {section} at byte {start} is not as long as it says"
            )
    return found


class _SectionReader:
    """A position in a section's body."""

    __slots__ = ("at", "content")

    def __init__(self, content: Bytes, at: int) -> None:
        self.content = content
        self.at = at

    def number(self) -> int:
        value, self.at = leb128(self.content, self.at)
        return value

    def byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1] if self.at <= len(self.content) else -1

    def text(self) -> str:
        length = self.number()
        raw = self.content[self.at : self.at + length]
        self.at += length
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError:
            raise ImageError(f"damaged WebAssembly: a name at byte {self.at - length} is not UTF-8") from None

    def name(self) -> str:
        """Read an import's or export's name; the third form has the version's suffix separately."""
        form = self.byte()
        name = self.text()
        if form == 2:
            self.text()
        elif form not in (0, 1):
            raise ImageError(f"damaged WebAssembly: unknown form {form} of a name at byte {self.at}")
        return name

    def skip_description(self) -> None:
        """Skip an externdesc."""
        sort = self.byte()
        if sort == 0:  # a core module, its own sort before the index of its type
            self.byte()
            self.number()
        elif sort in (1, 4, 5):  # a function, component or instance: the index of its type
            self.number()
        elif sort in (2, 3):  # a value or type: equal to an index, or any
            if self.byte() == 0 or sort == 2:
                self.number()
        else:
            raise ImageError(f"damaged WebAssembly: unknown sort {sort} at byte {self.at - 1}")

    def skip_exported(self) -> None:
        """Skip a sortidx and the externdesc that may follow it."""
        if self.byte() == 0:
            self.byte()
        self.number()
        if self.byte():
            self.skip_description()
