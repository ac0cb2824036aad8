"""Print what a command prints, so that every command treats a full disk or a vanished reader alike."""

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
"""The exit status that stands for that of a program which the kernel does not execute, as with runc and crun."""

_LAST_STEP = "run_workload"


def write(text: str) -> None:
    """Print text as it stands. Raises as flush does, for it may be long."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        _fail(error)


def flush() -> None:
    """Flush what was printed.

    Raises OSError that names standard output, or Interrupted by SIGPIPE when nobody reads: Python ignores that
    signal, which would end a program in C or Go without a word.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _fail(error)


def write_error(line: str) -> None:
    """Print a line on standard error. If nobody reads it, the exit status must still be the command's."""
    try:
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))
    except OSError:
        pass


def not_executed(error: ContainerError) -> int:
    """Print that the kernel refused a program in the last step; raise any other error again.

    A script without its interpreter and too many arguments are found out only there. The words then stand for the
    program's own, and so does the status that is returned: nothing of ours went wrong.
    """
    if error.step != _LAST_STEP:
        raise error
    write_error(str(error))
    return NOT_EXECUTED


def _fail(error: OSError) -> NoReturn:
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)  # takes what is left, or the interpreter would try again at its end and complain
    os.close(null)
    if isinstance(error, BrokenPipeError):
        raise Interrupted(SIGPIPE) from None
    raise OSError(error.errno, error.strerror, "standard output") from None
