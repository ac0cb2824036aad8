"""Operations wait for what they yield, and take back what they did when they are interrupted."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from runwasi.linux.waiting import TURN, Wait, finish

if TYPE_CHECKING:
    from runwasi.linux.waiting import Operation


def test_an_operation_is_resumed_with_what_is_readable(pipe: tuple[int, int]) -> None:
    def operation() -> Operation[tuple[int, ...]]:
        return (yield Wait(pipe))

    os.write(pipe[1], b"x")
    assert finish(operation()) == (pipe[0],)


def test_a_deadline_that_comes_first_brings_nothing(pipe: tuple[int, int]) -> None:
    def operation() -> Operation[tuple[int, ...]]:
        return (yield Wait((pipe[0],), monotonic() + 0.01))

    assert finish(operation()) == ()


def test_a_turn_waits_for_nothing() -> None:
    def operation() -> Operation[tuple[int, ...]]:
        return (yield TURN)

    assert finish(operation()) == ()


def test_an_operation_may_be_of_others(pipe: tuple[int, int]) -> None:
    def inner() -> Operation[bytes]:
        yield Wait((pipe[0],))
        return os.read(pipe[0], 1)

    def outer() -> Operation[bytes]:
        return (yield from inner()) + (yield from inner())

    os.write(pipe[1], b"xy")
    assert finish(outer()) == b"xy"


def test_an_interrupt_is_the_operations_which_may_wait_on() -> None:
    steps = []

    class Interrupted(Wait):
        def poll(self) -> tuple[int, ...]:
            raise KeyboardInterrupt

    def operation() -> Operation[None]:
        try:
            yield Interrupted()
        except KeyboardInterrupt:
            yield TURN
            steps.append("taken back")
            raise

    with pytest.raises(KeyboardInterrupt):
        finish(operation())
    assert steps == ["taken back"]
