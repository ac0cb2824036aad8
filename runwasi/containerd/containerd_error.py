"""The error for a call that containerd refused or did not answer."""

from __future__ import annotations

# gRPC's status codes, those that callers distinguish. Source: grpc/doc/statuscodes.md.
DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, INTERNAL, UNAVAILABLE = 4, 5, 6, 13, 14


class ContainerdError(Exception):
    """A failed request to containerd; str() is one line that says what failed and why."""

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        super().__init__(message)
        self.code = code


class NotInContainerd(ContainerdError):
    """containerd has no such container, image or content."""
