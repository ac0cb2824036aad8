"""Installs the manual and the shell completions of `runwasi` below a prefix, or removes them."""

from __future__ import annotations

import contextlib
import os

from runwasi.cli import completion, manual

BASH = "bash-completion/completions/runwasi"
FISH = "fish/vendor_completions.d/runwasi.fish"
MANUAL = "man/man1/runwasi.1"
_ZSH = "zsh/site-functions/_runwasi"
"""Paths below PREFIX/share. Source: man 1 manpath; bash-completion, zsh and fish on their search paths."""


def write(share: str) -> None:
    """Write all of them below the share folder of a prefix, each by a rename. Raises OSError."""
    _write(f"{share}/{MANUAL}", manual.manual())
    for path, shell in ((BASH, "bash"), (_ZSH, "zsh"), (FISH, "fish")):
        _write(f"{share}/{path}", completion.script_for(shell))


def remove(share: str) -> None:
    """Remove those that are there; their folders stay, as other programs use them. Raises OSError."""
    for path in (MANUAL, BASH, _ZSH, FISH):
        if os.path.lexists(f"{share}/{path}"):
            os.unlink(f"{share}/{path}")


def _write(path: str, text: str) -> None:
    if _text_of(path) == text:
        return
    make_folders(os.path.dirname(path))
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)  # whatever the caller's umask is
        file.write(text)
    os.replace(f"{path}.new", path)


def make_folders(path: str) -> None:
    """Make a folder and those above it that are missing; everybody can enter them, whatever the caller's umask is."""
    if os.path.isdir(path):
        return
    make_folders(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):  # another installer was faster
        os.mkdir(path)
        os.chmod(path, 0o755)


def _text_of(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
