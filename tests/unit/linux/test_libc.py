"""The check of what the kernel returns."""

from __future__ import annotations

import pytest

from runwasi.linux.libc import check, syscall

NO_SUCH_CALL = 4000


def test_a_failure_names_the_call_and_its_object() -> None:
    with pytest.raises(OSError, match="'call object'") as failure:
        check(syscall(NO_SUCH_CALL), "call", "object")
    assert failure.value.filename == "call object"


def test_a_call_that_the_kernel_lacks_is_said_to_be_lacking() -> None:
    with pytest.raises(OSError, match="this kernel has no such call"):
        check(syscall(NO_SUCH_CALL), "call")
