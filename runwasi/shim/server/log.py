"""Writes the shim's log: logrus text lines on the `log` FIFO, which containerd copies into its own log.

    time="2026-01-02T15:04:05.000000000Z" level=error msg="..." instance=ID pod=GROUP

Nobody reads the FIFO while containerd is down, so a line that does not fit is dropped: a log must never stop
a pod. Values of the environment, annotations and arguments of containers may be secrets and are never logged.
"""

from __future__ import annotations

import os
import time

from runwasi.linux.fd import Fd

_NEEDS_QUOTES = frozenset('" =\n\t\\')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Log:
    """Writes to a non-blocking descriptor, which it owns; adds the given fields to every line."""

    def __init__(self, fd: int, *, debug: bool = False, **fields: str) -> None:
        self._fd = Fd(fd)
        self._debug = debug
        self._fields = fields

    @property
    def tells_details(self) -> bool:
        """Return whether lines of level debug are written."""
        return self._debug

    def debug(self, message: str, **fields: str) -> None:
        """Write a line if -debug is on."""
        if self._debug:
            self._write("debug", message, fields)

    def info(self, message: str, **fields: str) -> None:
        """Write a line of level info."""
        self._write("info", message, fields)

    def warning(self, message: str, **fields: str) -> None:
        """Write a line about a problem that we survived."""
        self._write("warning", message, fields)

    def error(self, message: str, **fields: str) -> None:
        """Write a line about a failure."""
        self._write("error", message, fields)

    def fault(self, where: str, error: BaseException) -> None:
        """Write a line about our own fault, with its traceback."""
        import traceback  # late: 4 ms, and only when there is a bug

        text = "".join(traceback.format_exception(error))
        self._write("error", f"{where}: {error!r}", {"traceback": text})

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd.fileno()

    def close(self) -> None:
        """Close the descriptor."""
        self._fd.close()

    def _write(self, level: str, message: str, fields: dict[str, str]) -> None:
        pairs = {"time": _timestamp(), "level": level, "msg": message, **self._fields, **fields}
        line = " ".join(f"{key}={_quoted(key, value)}" for key, value in pairs.items()) + "\n"
        try:
            os.write(self._fd.fileno(), line.encode(errors="replace"))
        except OSError:
            return  # full, or without a reader


def open_log(path: str) -> int:
    """Open the log FIFO of a bundle, non-blocking, holding its reading end too so that writing never breaks.

    Falls back to /dev/null where there is no FIFO. Source: man 7 fifo, O_RDWR.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _timestamp() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09}Z"


def _quoted(key: str, value: str) -> str:
    if key not in ("time", "msg") and value and value.isprintable() and not _NEEDS_QUOTES & set(value):
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(char: str) -> str:
    """Escape as Go's %q does. Texts of others, such as a collector's answer, must not move a reader's cursor."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    return f"\\x{ord(char):02x}" if char < "\x80" else f"\\u{ord(char):04x}"
