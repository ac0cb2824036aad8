"""Parses signals by name or number, and forwards those that a foreground runtime receives."""

from __future__ import annotations

from runwasi.cli.options import UsageError
from runwasi.linux.signal_pipe import SignalPipe
from runwasi.startup import thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_LAST = 64  # _NSIG of every architecture but MIPS


def signal_number(text: str) -> int:
    """Return the number of a signal given as 15, TERM, SIGTERM or SIGRTMIN+1. Raises UsageError."""
    if text.isascii() and text.isdigit():
        if int(text) <= _LAST:
            return int(text)
        raise UsageError(f'unknown signal "{text}": expected a number or a name, such as 15 or TERM')
    name, plus, offset = text.upper().partition("+")
    if not name.startswith("SIG"):
        name = f"SIG{name}"
    number = None if name.startswith("SIG_") else getattr(thin_signal, name, None)
    if plus and name == "SIGRTMIN" and offset.isdigit():
        number = int(thin_signal.SIGRTMIN) + int(offset)
    if not isinstance(number, int) or number > _LAST or (plus and name != "SIGRTMIN"):
        raise UsageError(f'unknown signal "{text}": expected a number or a name, such as 15 or TERM')
    return int(number)


# Not passed on: signals that no process can catch, the one for a write to a closed pipe, and those that mean a
# fault of the receiving process.
_OURS = frozenset(
    {
        thin_signal.SIGKILL,
        thin_signal.SIGSTOP,
        thin_signal.SIGPIPE,
        thin_signal.SIGSEGV,
        thin_signal.SIGBUS,
        thin_signal.SIGILL,
        thin_signal.SIGFPE,
        thin_signal.SIGURG,
    }
)
_ENDING = frozenset({thin_signal.SIGHUP, thin_signal.SIGINT, thin_signal.SIGQUIT, thin_signal.SIGTERM})


class Interrupted(BaseException):
    """A signal that should end us came before there was a process to pass it to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Caught:
    """Catches signals until the end of `with`, and makes them readable from a descriptor, to pass them on.

    Until `pass_on` is set, those that should end us raise Interrupted. Nothing is blocked, so a container inherits
    our signal mask. The interpreter's own handler writes each number to the descriptor.
    """

    def __enter__(self) -> Self:
        self.pass_on = False
        self._pipe = SignalPipe()
        self._saved = {
            number: thin_signal.signal(number, self._noted)
            for number in thin_signal.valid_signals()
            if number not in _OURS
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._saved.items():
            thin_signal.signal(number, thin_signal.SIG_DFL if handler is None else handler)
        self._pipe.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable once signals have come."""
        return self._pipe.fileno()

    def take(self) -> bytes:
        """Return the numbers of the signals since the last call, as bytes, in order."""
        return self._pipe.take()

    def _noted(self, number: int, _frame: object) -> None:
        self._pipe.noted(number)
        if number in _ENDING and not self.pass_on:
            raise Interrupted(number)
