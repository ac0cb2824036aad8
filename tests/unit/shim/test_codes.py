"""Exceptions become codes by their type, and their words end as Go clients want."""

from __future__ import annotations

import pytest

from runwasi.executor.errors import AlreadyExists, ContainerError, Invalid, NotFound, WrongStatus
from runwasi.oci.decode import SpecError
from runwasi.shim.server.codes import RpcError, is_expected, status_of
from runwasi.wire.codec import WireError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NotFound("container not created"), 5, "container not created: not found"),
        (AlreadyExists("id x"), 6, "id x: already exists"),
        (Invalid("exec id cannot be empty"), 3, "exec id cannot be empty: invalid argument"),
        (WrongStatus("cannot start a running process"), 2, "cannot start a running process"),
        (ContainerError("mount /x: Permission denied"), 2, "mount /x: Permission denied"),
        (SpecError("$.root.path", "is empty"), 3, "$.root.path: is empty: invalid argument"),
        (WireError("the message ends within a number"), 13, "the message ends within a number"),
        (OSError(28, "No space left on device", "mkdir /x"), 2, "mkdir /x: No space left on device"),
        (RpcError(9, "process not created"), 9, "process not created: failed precondition"),
        (RpcError(12, "method X"), 12, "method X: not implemented"),
    ],
)
def test_a_failure_has_its_code_and_words(error: Exception, code: int, message: str) -> None:
    status = status_of(error)
    assert (status.code, status.message) == (code, message)
    assert is_expected(error)


def test_a_fault_of_ours_is_unknown_and_unexpected() -> None:
    error = ZeroDivisionError("division by zero")
    assert status_of(error).code == 2
    assert not is_expected(error)
