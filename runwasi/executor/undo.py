"""What must be undone when the work it belongs to fails, in reverse order, always."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


class Undo:
    """A stack of actions that take back what was done; contextlib.ExitStack would cost a start 2 ms of import.

    As a context manager it runs when the block fails, unless commit came first.
    """

    __slots__ = ("_actions",)

    def __init__(self) -> None:
        self._actions: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def add(self, action: Callable[..., object], *args: object) -> None:
        """Remember how to take back what was just done."""
        self._actions.append((action, args))

    def add_last(self, action: Callable[..., object], *args: object) -> None:
        """Remember what to do once everything else is taken back."""
        self._actions.insert(0, (action, args))

    def commit(self) -> None:
        """Keep what was done."""
        self._actions.clear()

    def run(self) -> None:
        """Take everything back, the last first; one action that cannot be done does not keep the others."""
        while self._actions:
            action, args = self._actions.pop()
            try:
                action(*args)
            except OSError:
                continue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self.run()
