"""Adds a block of lines to another program's file, between two comments, so that it can be found and removed."""

from __future__ import annotations

from runwasi.deployment.deployment_error import DeploymentError

_BEGIN = "# --- runwasi: begin"
_END = "# --- runwasi: end ---"
_FIRST = f"{_BEGIN} (`runwasi install` writes these lines, `runwasi uninstall` removes them) ---"


def with_block(text: str, content: str) -> str:
    """Append our block to a text without one."""
    separator = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return f"{text}{separator}{_FIRST}\n{content}{_END}\n"


def without_block(text: str, path: str) -> str:
    """Return a text without our block and the empty line before it; path is for the error.

    Raises DeploymentError if the block has no end.
    """
    lines = text.splitlines(keepends=True)
    first = next((index for index, line in enumerate(lines) if line.startswith(_BEGIN)), None)
    if first is None:
        return text
    last = next((index for index in range(first, len(lines)) if lines[index].startswith(_END)), None)
    if last is None:
        raise DeploymentError(
            f"{path}: line {first + 1} begins runwasi's part, but no line `{_END}` ends it: "
            "put that line where the part ends"
        )
    if first and lines[first - 1].strip() == "":
        first -= 1
    return "".join(lines[:first] + lines[last + 1 :])


def has_block(text: str) -> bool:
    """Return whether a text has our block."""
    return any(line.startswith(_BEGIN) for line in text.splitlines())
