"""Signals on the command line, and those that are passed on."""

from __future__ import annotations

import os
import select
import signal

import pytest

from runwasi.cli.options import UsageError
from runwasi.cli.signal_forwarding import Caught, Interrupted, signal_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("0", 0),
        ("64", 64),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("usr1", 10),
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmax", 64),
    ],
)
def test_signals_have_names_and_numbers(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "65", "-9", "NOPE", "SIG_DFL", "_IGN", "SIGRTMIN+99", "SIGTERM+1", "9.0"]
)
def test_unknown_signals_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"unknown signal .*: expected a number or a name"):
        signal_number(text)


def test_signals_are_readable_in_order_and_the_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with Caught() as caught:
        caught.pass_on = True
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert select.select([caught], [], [], 5)[0] == [caught]
        assert list(caught.take()) == [signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1]
        assert caught.take() == b""
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_signal_ends_us_while_there_is_nothing_to_pass_it_on_to() -> None:
    with Caught(), pytest.raises(Interrupted) as interrupted:
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupted.value.number == signal.SIGTERM
