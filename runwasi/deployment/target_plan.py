"""Represents the plan for one target of `runwasi install`, to be shown before it is carried out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.deployment.file_change import FileChange


class TargetPlan:
    """The changes for one target, and what its user must know.

    found     one line: what was found on the node
    changes   files to write or remove
    before    commands that must come before the changes, such as stopping what they remove
    after     commands that make running programs notice the changes, each a list of words
    hint      what to do where those commands cannot be run
    due       whether the commands must run though no file changes: an earlier restart failed or was not wanted
    notes     what we leave to the operator
    shown     text for the operator to use, such as a manifest
    """

    __slots__ = ("after", "before", "changes", "due", "found", "hint", "notes", "shown", "target")

    def __init__(
        self,
        target: str,
        found: str,
        changes: Sequence[FileChange] = (),
        *,
        before: Sequence[Sequence[str]] = (),
        after: Sequence[Sequence[str]] = (),
        hint: str = "",
        due: bool = False,
        notes: Sequence[str] = (),
        shown: str = "",
    ) -> None:
        self.target = target
        self.found = found
        self.changes = [change for change in changes if change.is_needed()]
        self.before = before
        self.after = after
        self.hint = hint
        self.due = due
        self.notes = notes
        self.shown = shown
