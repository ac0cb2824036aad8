"""Translates exceptions to ttrpc status codes and messages, in this one place.

containerd reads the code, and the text in front of the code's standard phrase ("...: not found").
Source: shim protocol of containerd, errdefs; google/rpc/code.proto.
"""

from __future__ import annotations

from runwasi.executor.errors import AlreadyExists, ContainerError, Invalid, NotFound, describe
from runwasi.oci.decode import SpecError
from runwasi.wire.codec import WireError
from runwasi.wire.messages.status import Status

CANCELED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS = 1, 2, 3, 4, 5, 6
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE = 7, 8, 9, 10, 11
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED = 12, 13, 14, 15, 16

_WORDS = {
    INVALID_ARGUMENT: "invalid argument",
    NOT_FOUND: "not found",
    ALREADY_EXISTS: "already exists",
    FAILED_PRECONDITION: "failed precondition",
    UNIMPLEMENTED: "not implemented",
}
"""The words at the end of a message from which Go clients make their own errors."""

_BY_TYPE: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, NOT_FOUND),
    (AlreadyExists, ALREADY_EXISTS),
    (Invalid, INVALID_ARGUMENT),
    (SpecError, INVALID_ARGUMENT),
    (ContainerError, UNKNOWN),
    (WireError, INTERNAL),
    (TimeoutError, DEADLINE_EXCEEDED),
    (OSError, UNKNOWN),
)


class RpcError(Exception):
    """A failure that already knows its status code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def status_of(error: Exception) -> Status:
    """Return the status that answers a call that raised an error."""
    code = error.code if isinstance(error, RpcError) else _code_of(error)
    message = describe(error)
    words = _WORDS.get(code)
    if words and not message.endswith(words):
        message = f"{message}: {words}"
    return Status(code=code, message=message)


def is_expected(error: Exception) -> bool:
    """Return whether a failure is expected; any other is our fault, and is logged with a traceback."""
    return isinstance(error, RpcError) or any(isinstance(error, kind) for kind, _ in _BY_TYPE)


def _code_of(error: Exception) -> int:
    return next((code for kind, code in _BY_TYPE if isinstance(error, kind)), UNKNOWN)
