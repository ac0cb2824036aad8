"""The bounding set ends where the kernel's capabilities end."""

from __future__ import annotations

import errno

import pytest

from runwasi.linux import capabilities

LAST = 3


class Kernel:
    """Stands in for libc.prctl of a process without CAP_SETPCAP: a drop is refused before its number is looked at."""

    def prctl(self, operation: int, number: int, *_: None) -> int:
        if operation == capabilities._PR_CAPBSET_DROP:
            self.errno = errno.EPERM
            return -1
        self.errno = errno.EINVAL
        return -1 if number > LAST else int(number in self.bounding)

    def __init__(self, bounding: set[int]) -> None:
        self.bounding = bounding
        self.errno = 0


def _apply(monkeypatch: pytest.MonkeyPatch, bounding: set[int], mask: int) -> None:
    kernel = Kernel(bounding)
    monkeypatch.setattr(capabilities, "libc", kernel)
    monkeypatch.setattr(capabilities, "get_errno", lambda: kernel.errno)
    capabilities.apply_bounding(mask)


def test_without_the_right_to_drop_a_set_that_fits_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    _apply(monkeypatch, bounding={0, 1}, mask=0b11)


def test_without_the_right_to_drop_one_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermissionError, match="PR_CAPBSET_DROP"):
        _apply(monkeypatch, bounding={0, 1, 2}, mask=0b11)
