"""/etc/passwd of an image, where the home folder is looked up."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runwasi.executor.child.become_user import home_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = ()

_root = tempfile.TemporaryDirectory()
Path(_root.name, "etc").mkdir()


def run(data: bytes) -> None:
    Path(_root.name, "etc/passwd").write_bytes(data)
    for uid in (0, 1000):
        home = home_of(uid, _root.name)
        assert home
        assert b"\n" not in os.fsencode(home)
        assert "\0" not in home  # it becomes a variable of the environment


def seeds() -> Iterator[bytes]:
    yield b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
    yield b"a:x:1000:1000:\xff:/h\xff\n:::::\n"
