"""Suspends a guest that waits in a host function, and resumes it."""

from __future__ import annotations

from runwasi.wasi.component.values import Err

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from runwasi.wasi.component.interface import Waitable, Waiting


class Suspension:
    """The remaining steps of the host function; `finish` gets its value, or the Err that it raised."""

    __slots__ = ("_finish", "_steps", "waits_for")

    def __init__(
        self, steps: Waiting[Any], waits_for: Iterable[Waitable], finish: Callable[[object], None]
    ) -> None:
        self.waits_for = waits_for
        self._steps = steps
        self._finish = finish

    def ready(self) -> bool:
        """Return whether anything that it waits for is ready."""
        return any(each.ready() for each in self.waits_for)

    def resume(self) -> bool:
        """Continue if something is ready; return whether the host function is done. Raises what it raises."""
        if not self.ready():
            return False
        try:
            self.waits_for = next(self._steps)
        except StopIteration as done:
            self._finish(done.value)
        except Err as error:
            self._finish(error)
        else:
            return False
        return True
