"""Makes signals readable from a descriptor, a pipe that the interpreter writes to when one comes.

That write can fail when memory is short, and the interpreter prints a traceback then, which is kept back. So the
signals' numbers come from their handlers, which call noted(); it makes sure that the pipe is readable.
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

# Python 3.11 prints the complaint by itself; later releases, each in its own words, through the unraisable hook.
_COMPLAINT = "Exception ignored when trying to write to the signal wakeup fd:\n"
_COMPLAINT_ENDS = "trying to write to the signal wakeup fd"


class SignalPipe:
    """The pipe; the handlers are the caller's."""

    def __init__(self) -> None:
        self._numbers = bytearray()
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
            os.read(self._read, 4096)
        except BlockingIOError:
            pass
        # A handler may run between any two steps: what it adds to the new array has made the pipe readable again.
        numbers = self._numbers
        self._numbers = bytearray()
        return bytes(numbers)

    def noted(self, number: int) -> None:
        """Add the number of a signal that is being handled, and wake the reader if the interpreter could not."""
        if self not in _Open.pipes:
            return
        self._numbers.append(number)
        try:
            if not self._readable.poll(0):
                os.write(self._write, b"\0")
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
    """Have the interpreter say nothing of a write that failed; Python 3.11 says it in two parts."""
    if sys.stderr is None or sys.unraisablehook is _unraisable:
        return
    write = sys.stderr.write

    def write_others(text: str) -> int:
        return len(text) if text == _COMPLAINT else write(text)

    sys.stderr.write = write_others  # type: ignore[method-assign]
    sys.unraisablehook = _unraisable


def _unraisable(unraisable: UnraisableHookArgs) -> None:
    text = unraisable.err_msg
    is_write = unraisable.object is None and (text is None or text.endswith(_COMPLAINT_ENDS))
    if not (is_write and isinstance(unraisable.exc_value, OSError)):
        sys.__unraisablehook__(unraisable)
