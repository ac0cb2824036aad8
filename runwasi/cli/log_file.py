"""Writes the command line's log: records in logrus's text or JSON format, for containerd and Podman.

Without a log file, records go to standard error. An error there is for people, "runwasi: …", unless the format is
JSON.
"""

from __future__ import annotations

import os
import time

from runwasi.cli import output
from runwasi.oci.encode import dumps

TEXT, JSON = "text", "json"


class LogFile:
    """The destination of records; path "" is standard error."""

    __slots__ = ("_fails", "_form", "_path", "tells_details")

    def __init__(self, path: str = "", form: str = TEXT, *, debug: bool = False) -> None:
        self._path = path
        self._form = form
        self._fails = False
        self.tells_details = debug

    def check(self) -> None:
        """Raise OSError for a log file that cannot be written, before the command does anything."""
        if self._path:
            os.close(self._open())

    def error(self, message: str) -> None:
        """Record why a command failed, and print it on standard error."""
        if self._path:
            self._write("error", message)
            _print_error(message)
        elif self._form == JSON:
            self._write("error", message)
        else:
            _print_error(message)

    def warning(self, message: str) -> None:
        """Record a problem that did not stop the command."""
        self._write("warning", message)

    def debug(self, message: str) -> None:
        """Record a detail, if --debug is on."""
        if self.tells_details:
            self._write("debug", message)

    def _write(self, level: str, message: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == JSON:
            line = dumps({"level": level, "msg": message, "time": moment})
        else:
            line = f'time="{moment}" level={level} msg={dumps(message)}'
        if not self._path:
            output.write_error(line)
            return
        try:
            self._append(line)
        except OSError as error:
            self._complain(error)

    def _append(self, line: str) -> None:
        fd = self._open()
        try:
            os.write(fd, (line + "\n").encode(errors="backslashreplace"))
        finally:
            os.close(fd)

    def _complain(self, error: OSError) -> None:
        """Say once that the log lacks records, as its disk is full: no command fails for that."""
        if not self._fails:
            self._fails = True
            _print_error(f"cannot write to the log {self._path}: {error.strerror}")

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _print_error(message: str) -> None:
    output.write_error(f"runwasi: {message}")
