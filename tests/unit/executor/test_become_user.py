"""The home folder, looked up in a file that the image brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from runwasi.executor.child.become_user import home_of


@pytest.mark.parametrize(
    ("passwd", "home"),
    [
        (b"user:x:1000:1000::/home/user:/bin/sh\n", "/home/user"),
        (b"other:x:1:1::/no:\nuser:x:1000:1000::/h\xff:", "/h\udcff"),
        (b"user:x:1000:1000::/a\0B=c:/bin/sh\n", "/"),
        (b"user:x:1000:1000:::/bin/sh\n", "/"),
        (b"", "/"),
    ],
)
def test_home_comes_from_passwd_if_a_variable_can_hold_it(tmp_path: Path, passwd: bytes, home: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(passwd)
    assert home_of(1000, str(tmp_path)) == home
