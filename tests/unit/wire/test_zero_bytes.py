"""Zero bytes in the texts of messages."""

from __future__ import annotations

import pytest

from runwasi.wire.codec import Message
from runwasi.wire.messages.sandbox import CreateSandboxRequest
from runwasi.wire.messages.task import CreateTaskRequest, UpdateTaskRequest
from runwasi.wire.messages.types import Mount
from runwasi.wire.messages.well_known import Any
from runwasi.wire.zero_bytes import member_with_zero


@pytest.mark.parametrize(
    ("message", "member"),
    [
        (CreateTaskRequest(id="a\0b"), "id"),
        (CreateTaskRequest(id="a", rootfs=[Mount(), Mount(source="\0")]), "rootfs.source"),
        (CreateTaskRequest(rootfs=[Mount(options=["ro", "a\0"])]), "rootfs.options"),
        (CreateTaskRequest(options=Any(type_url="\0")), "options.type_url"),
        (UpdateTaskRequest(annotations={"a\0": ""}), "annotations"),
        (UpdateTaskRequest(annotations={"a": "\0"}), "annotations"),
        (CreateTaskRequest(options=Any(value=b"\0")), ""),
        (CreateTaskRequest(), ""),
        (CreateSandboxRequest(sandbox_id="s"), ""),
    ],
)
def test_the_member_is_named(message: Message, member: str) -> None:
    assert member_with_zero(message) == member
