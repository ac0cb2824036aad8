"""Defines a command: a name, texts for help and manual, and the function that runs it."""

from __future__ import annotations

from runwasi.cli.options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runwasi.cli.options import Given, Option
    from runwasi.cli.settings import Settings


class Command:
    """One command: its name and arguments, its help, and the function that runs it.

    least and most limit the number of arguments (most None: no limit). With stop_at_first, options end at the first
    argument: the rest belongs to another program. failure_status is the exit status if the command itself fails.
    """

    __slots__ = (
        "action",
        "arguments",
        "description",
        "failure_status",
        "least",
        "most",
        "name",
        "options",
        "stop",
        "summary",
    )

    def __init__(
        self,
        name: str,
        summary: str,
        action: Callable[[Given, Settings], int],
        *,
        arguments: str = "",
        description: str = "",
        options: Sequence[Option] = (),
        least: int = 0,
        most: int | None = 0,
        stop_at_first: bool = False,
        failure_status: int = 1,
    ) -> None:
        self.name = name
        self.summary = summary
        self.action = action
        self.arguments = arguments
        self.description = description
        self.options = options
        self.least = least
        self.most = most
        self.stop = stop_at_first
        self.failure_status = failure_status


def check_arguments(command: Command, given: Given) -> None:
    """Raise UsageError unless the number of arguments is right."""
    count = len(given.arguments)
    if command.least == command.most and count != command.least:
        raise UsageError(f'"{command.name}" requires exactly {command.least} argument(s)')
    if count < command.least:
        raise UsageError(f'"{command.name}" requires a minimum of {command.least} argument(s)')
    if command.most is not None and count > command.most:
        raise UsageError(f'"{command.name}" requires a maximum of {command.most} argument(s)')
