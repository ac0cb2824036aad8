"""What can go wrong with a container, said in words for whoever asked."""

from __future__ import annotations


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


def describe(error: BaseException) -> str:
    """Say what an exception means in one line, without the errno number that OSError's own text starts with."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os_object(error)}: {error.strerror}" if error.filename is not None else error.strerror
    text = " ".join(str(error).split())
    return text or type(error).__name__


def os_object(error: OSError) -> str:
    """Return what the failed call was working on, as text."""
    name = error.filename
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
