"""Terminals on the host's own devpts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runwasi.linux import sockets, terminal


@pytest.fixture
def pty() -> Iterator[terminal.Pty]:
    root = os.open("/", os.O_PATH)
    pty = terminal.open_pty(root)
    os.close(root)
    yield pty
    sockets.close_all((pty.master, pty.slave))


def test_a_pty_connects_both_ends(pty: terminal.Pty) -> None:
    assert os.ttyname(pty.slave) == pty.name
    with terminal.raw_mode(pty.slave):
        os.write(pty.master, b"typed\x03")
        assert os.read(pty.slave, 10) == b"typed\x03"


def test_raw_mode_ends_as_it_found_the_terminal(pty: terminal.Pty) -> None:
    import termios

    before = termios.tcgetattr(pty.slave)
    with terminal.raw_mode(pty.slave):
        assert termios.tcgetattr(pty.slave) != before
    assert termios.tcgetattr(pty.slave) == before


def test_the_window_size_is_seen_from_the_other_end(pty: terminal.Pty) -> None:
    terminal.set_window_size(pty.master, 30, 90)
    assert terminal.window_size(pty.slave) == (30, 90)


def test_another_device_is_not_taken_for_a_ptmx() -> None:
    root = os.open("/", os.O_PATH)
    with pytest.raises(OSError, match="not the ptmx of a devpts"):
        terminal.open_pty(root, "dev/null")
    os.close(root)
