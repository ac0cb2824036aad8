"""Prints the output of commands, so that all treat a full disk or a vanished reader alike."""

from __future__ import annotations

import os
import sys

from runwasi.cli.signal_forwarding import Interrupted
from runwasi.startup.thin_signal import SIGPIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.executor.errors import ContainerError


NOT_EXECUTED = 1
"""The exit status in place of a program's that the kernel refuses to execute, as with runc and crun."""

_LAST_STEP = "run_workload"


def write(text: str) -> None:
    """Print text unchanged. Raises as flush does, as it may be long."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        _fail(error)


def flush() -> None:
    """Flush standard output.

    Raises OSError naming standard output, or Interrupted by SIGPIPE if nobody reads: Python ignores that
    signal, which would silently end a program in C or Go.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _fail(error)


def write_error(line: str) -> None:
    """Print a line on standard error. If nobody reads it, the command keeps its exit status."""
    try:
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))
    except OSError:
        pass


def not_executed(error: ContainerError) -> int:
    """Print that the kernel refused to execute a program; raise any other error again.

    Only the last step can find a script without its interpreter, or too many arguments. Then our message and the
    returned status stand for the program's own: we did not fail.
    """
    if error.step != _LAST_STEP:
        raise error
    write_error(str(error))
    return NOT_EXECUTED


def _fail(error: OSError) -> NoReturn:
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)  # takes the rest, or the interpreter would try again at its end, and complain
    os.close(null)
    if isinstance(error, BrokenPipeError):
        raise Interrupted(SIGPIPE) from None
    raise OSError(error.errno, error.strerror, "standard output") from None
