"""A descriptor is closed once, by its owner."""

from __future__ import annotations

import errno
import os

import pytest

from runwasi.linux.fd import Fd, close_owned


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _opened() -> Fd:
    return Fd(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))


def test_closing_twice_closes_once() -> None:
    fd = _opened()
    number = fd.fileno()
    fd.close()
    other = os.dup(0)  # takes the number that is free now
    fd.close()
    assert _is_open(other)
    os.close(other)
    assert not fd.is_open
    assert number >= 0


def test_a_context_closes_in_the_end_also_when_it_fails() -> None:
    fd = _opened()
    number = fd.fileno()
    with pytest.raises(RuntimeError), fd:
        raise RuntimeError
    assert not _is_open(number)


def test_who_detaches_a_descriptor_owns_it() -> None:
    fd = _opened()
    number = fd.detach()
    fd.close()
    assert _is_open(number)
    os.close(number)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EINTR])
def test_a_close_that_fails_has_closed(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    closing = os.close

    def close(fd: int) -> None:
        closing(fd)
        raise OSError(number, os.strerror(number))

    fds = _opened(), _opened()
    numbers = [fd.fileno() for fd in fds]
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        close_owned(fds)
    assert not any(map(_is_open, numbers))


def test_a_descriptor_that_somebody_else_has_closed_is_a_defect() -> None:
    fd = _opened()
    os.close(fd.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        fd.close()


def test_a_closed_descriptor_has_no_number() -> None:
    fd = _opened()
    fd.close()
    with pytest.raises(OSError, match="closed"):
        fd.fileno()


def test_none_stands_for_what_was_never_opened() -> None:
    fd = _opened()
    close_owned((None, fd))
    assert not fd.is_open
