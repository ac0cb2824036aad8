"""Defines the errors of a container's life, with a message for the caller."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

HOOK = "hook"
"""The step of an error that a hook made, whichever it was."""


class ContainerError(Exception):
    """A container operation failed; str() is one sentence for its user.

    step names the part of the work that failed ("mount_rootfs"), errno the kernel's reason when there was one.
    """

    def __init__(self, message: str, *, step: str = "", errno: int = 0) -> None:
        super().__init__(message)
        self.step = step
        self.errno = errno


class NotFound(ContainerError):
    """No container, or no process, of that name."""


class AlreadyExists(ContainerError):
    """The id is taken."""


class WrongStatus(ContainerError):
    """The container is not in a status that allows the operation."""


class Invalid(ContainerError):
    """The caller asked for something malformed or contradictory."""


class asked_by:  # noqa: N801 - reads as a statement: with asked_by("$.linux.intelRdt")
    """Turn an OSError of the block into a ContainerError that names the member of config.json behind it."""

    __slots__ = ("_member",)

    def __init__(self, member: str) -> None:
        self._member = member

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise ContainerError(f"{describe(error)} ({self._member})", errno=error.errno or 0) from None


def describe(error: BaseException) -> str:
    """Return an exception's meaning in one line, without the errno number that OSError's own text starts with."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os_object(error)}: {error.strerror}" if error.filename is not None else error.strerror
    text = " ".join(str(error).split())
    return text or type(error).__name__


def os_object(error: OSError) -> str:
    """Return the object of the failed call as text."""
    name = error.filename
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
