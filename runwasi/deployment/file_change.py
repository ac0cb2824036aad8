"""Represents a change of one file: shown as a diff first, then applied by a rename, with a copy of the old file."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile

BACKUP = ".before-runwasi"
"""Suffix of the copy: the file as it last was without anything of ours."""


class FileChange:
    """One file to write or remove.

    before is its text now, None without a file. after is its new text, None to remove it. keep says that
    before has nothing of ours, so that a copy of it is kept.
    """

    __slots__ = ("after", "before", "keep", "mode", "path")

    def __init__(
        self, path: str, before: str | None, after: str | None, *, keep: bool = False, mode: int = 0o644
    ) -> None:
        self.path = path
        self.before = before
        self.after = after
        self.keep = keep
        self.mode = mode

    def is_needed(self) -> bool:
        """Return whether the file would change."""
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff."""
        old, new = ("/dev/null" if text is None else self.path for text in (self.before, self.after))
        lines = difflib.unified_diff(_lines(self.before), _lines(self.after), old, new)
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
        )

    def apply(self) -> str:
        """Write or remove the file; return a description of the change. Raises OSError.

        The new text is on the disk before it gets the file's name, and keeps the file's owner and mode.
        """
        path = os.path.realpath(self.path)  # a symbolic link stays a symbolic link
        if self.after is None:
            os.unlink(path)
            return f"removed {path}"
        kept = ""
        if self.keep and self.before is not None:
            shutil.copy2(path, path + BACKUP)
            kept = f" (as it was: {path}{BACKUP})"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            fd, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
        except OSError as error:  # which would name a file that nobody asked for
            raise OSError(error.errno, error.strerror, path) from None
        try:
            with open(fd, "w", encoding="utf-8", newline="") as file:
                file.write(self.after)
                self._take_attributes(file.fileno(), path)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        return f"wrote {path}{kept}"

    def _take_attributes(self, fd: int, path: str) -> None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            os.fchmod(fd, self.mode)
            return
        os.fchmod(fd, status.st_mode & 0o7777)
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, status.st_uid, status.st_gid)


def _lines(text: str | None) -> list[str]:
    return (text or "").splitlines(keepends=True)
