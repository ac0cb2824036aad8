"""Makes signals readable from a descriptor: the interpreter writes the number of each into a pipe as it comes.

That write can fail, for want of memory, and then the interpreter prints a traceback and forgets the signal. So each
handler calls noted(), which sees to it that the pipe is readable, and the interpreter's own words are kept back: what
matters is that the signal is not lost.
"""

from __future__ import annotations

import os
import select
import sys

from runwasi.startup import thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from typing import ClassVar

_COMPLAINT = "Exception ignored when trying to write to the signal wakeup fd:\n"


class SignalPipe:
    """The pipe; the handlers are the caller's."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._readable = select.poll()
        self._readable.register(self._read, select.POLLIN)
        self._before = thin_signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        _keep_back_complaints()
        _Open.pipes.add(self)

    def fileno(self) -> int:
        """Return the descriptor that is readable once signals have come."""
        return self._read

    def take(self) -> bytes:
        """Return the numbers of the signals since the last call, as bytes, in order. Raises OSError."""
        try:
            return os.read(self._read, 4096)
        except BlockingIOError:
            return b""

    def noted(self, number: int) -> None:
        """Write the number of a signal that is being handled, if the interpreter could not."""
        try:
            if self in _Open.pipes and not self._readable.poll(0):
                os.write(self._write, bytes((number,)))
        except OSError:
            pass  # nothing more can be done here, and a handler must raise nothing

    def close(self) -> None:
        """Have no more signals written."""
        _Open.pipes.discard(self)
        thin_signal.set_wakeup_fd(self._before)
        os.close(self._read)
        os.close(self._write)


class _Open:
    """The pipes of this process. A forked one has the handlers still, but not the descriptors."""

    pipes: ClassVar[set[SignalPipe]] = set()


os.register_at_fork(after_in_child=_Open.pipes.clear)


def _keep_back_complaints() -> None:
    """Have the interpreter say nothing of a write that failed; it says it in two parts."""
    if sys.stderr is None or sys.unraisablehook is _unraisable:
        return
    write = sys.stderr.write

    def write_others(text: str) -> int:
        return len(text) if text == _COMPLAINT else write(text)

    sys.stderr.write = write_others  # type: ignore[method-assign]
    sys.unraisablehook = _unraisable


def _unraisable(unraisable: UnraisableHookArgs) -> None:
    is_write = unraisable.object is None and unraisable.err_msg is None
    if not (is_write and isinstance(unraisable.exc_value, OSError)):
        sys.__unraisablehook__(unraisable)
