"""Keeps a stack of actions that reverse failed work, last first."""

from __future__ import annotations

from runwasi.executor.errors import ContainerError
from runwasi.linux.waiting import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, TypeVar

    from runwasi.linux.waiting import Operation

    T = TypeVar("T")


class Undo:
    """A stack of actions that undo earlier work; importing contextlib.ExitStack would cost a start 2 ms.

    An action is a call, or a function that makes an operation. A `with` block runs them all if it fails
    before the commit; around does the same for an operation.
    """

    __slots__ = ("_actions",)

    def __init__(self) -> None:
        self._actions: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def add(self, action: Callable[..., object], *args: object) -> None:
        """Add an action that undoes the last piece of work."""
        self._actions.append((action, args))

    def add_last(self, action: Callable[..., object], *args: object) -> None:
        """Add an action to run after all others."""
        self._actions.insert(0, (action, args))

    def commit(self) -> None:
        """Forget all actions: the work stays."""
        self._actions.clear()

    def run(self) -> Operation[None]:
        """Run all actions, the last first; go on if one fails."""
        while self._actions:
            action, args = self._actions.pop()
            try:
                result = action(*args)
                if hasattr(result, "send"):
                    yield from result  # type: ignore[misc]  # an operation, by its method
            except (OSError, ContainerError):
                continue

    def around(self, operation: Operation[T]) -> Operation[T]:
        """Run an operation. If it fails or is interrupted, undo everything before the error is raised."""
        try:
            return (yield from operation)
        except GeneratorExit:  # nobody waits for us now, and nothing can be waited for
            raise
        except BaseException:
            yield from self.run()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            finish(self.run())
