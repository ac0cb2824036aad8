"""Messages between parent and child arrive complete, with their descriptors, and the end is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.executor.protocol import ANSWER, COMPILE, FAILED, PROCEED, Channel, CreatorGone


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    parent, child = Channel.pair()
    yield parent, child
    parent.close()
    child.close()


def test_a_message_arrives_with_its_fields_and_descriptors(pair: tuple[Channel, Channel]) -> None:
    parent, child = pair
    file = os.memfd_create("module")
    os.write(file, b"bytes")
    child.send(COMPILE, "name", "", "a key\nof two lines", fds=(file,))
    os.close(file)
    message = parent.receive()
    assert message is not None
    assert (message.kind, message.fields) == (COMPILE, ("name", "", "a key\nof two lines"))
    assert os.pread(message.fds[0], 10, 0) == b"bytes"
    os.close(message.fds[0])


def test_messages_keep_their_boundaries(pair: tuple[Channel, Channel]) -> None:
    parent, child = pair
    parent.send(PROCEED, "1")
    parent.send(ANSWER, "2")
    assert [child.expect().fields, child.expect().fields] == [("1",), ("2",)]


def test_a_failure_crosses_with_step_errno_and_text(pair: tuple[Channel, Channel]) -> None:
    parent, child = pair
    parent.send_failure(OSError(13, "Permission denied", "mount /sys"), "mount_rootfs")
    with pytest.raises(ContainerError, match=r"^mount /sys: Permission denied$") as caught:
        child.expect()
    assert (caught.value.step, caught.value.errno) == ("mount_rootfs", 13)


def test_the_other_ends_death_is_noticed_on_both_sides(pair: tuple[Channel, Channel]) -> None:
    parent, child = pair
    parent.close()
    with pytest.raises(CreatorGone):
        child.expect()
    with pytest.raises(BrokenPipeError):
        child.send(PROCEED)
    assert child.receive() is None


def test_last_words_are_heard_of_an_end_that_did_not_listen(pair: tuple[Channel, Channel]) -> None:
    parent, child = pair
    parent.send(PROCEED, "unheard")
    child.send_failure(OSError(2, "No such file or directory", "/nowhere"), "mount_rootfs")
    child.close()
    message = parent.receive()
    assert message is not None
    assert (message.kind, message.fields[0]) == (FAILED, "mount_rootfs")
    assert parent.receive() is None


def test_bytes_that_are_not_utf8_survive(pair: tuple[Channel, Channel]) -> None:
    parent, child = pair
    name = os.fsdecode(b"caf\xe9")
    child.send(COMPILE, name)
    message = parent.receive()
    assert message is not None
    assert message.fields == (name,)
