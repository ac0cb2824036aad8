"""A child's walk through its steps ends with a word to whoever waits for one, or in silence where somebody spoke."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runwasi.executor.child import walk
from runwasi.executor.errors import ContainerError
from runwasi.executor.protocol import PROCEED, READY, Channel

if TYPE_CHECKING:
    from collections.abc import Callable


def _said(step: Callable[[Any], None], *, by: Callable[[Channel], object]) -> bytes:
    """Return what a child prints whose parent does something and then gives up."""
    parent, child = Channel.pair()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writing, 2)
        parent.close()
        context: Any = SimpleNamespace(channel=child, verdict=child)
        walk._walk(context, [step])
    os.close(writing)
    child.close()
    by(parent)
    parent.close()
    with open(reading, "rb") as output:
        said = output.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    return said


def wait_for_word(ctx: Any) -> None:
    ctx.channel.expect()


def ask(ctx: Any) -> None:
    ctx.channel.expect()
    while True:
        ctx.channel.request(READY)


def ask_and_explain(ctx: Any) -> None:
    ctx.channel.expect()
    try:
        while True:
            ctx.channel.request(READY)
    except OSError as error:
        raise ContainerError(f"cannot fill /dev: {error}") from None


def fail(ctx: Any) -> None:
    ctx.channel.expect()
    ctx.channel.hears()
    raise OSError(5, "Input/output error", "the disk")


@pytest.mark.parametrize("step", [wait_for_word, ask, ask_and_explain])
def test_a_creator_that_gave_up_has_said_why(step: Callable[[Any], None]) -> None:
    assert _said(step, by=lambda parent: parent.send(PROCEED) if step is not wait_for_word else None) == b""


def test_a_failure_that_nobody_waits_for_is_printed() -> None:
    said = _said(fail, by=lambda parent: parent.send(PROCEED))
    assert said == b"runwasi: the disk: Input/output error\n"
