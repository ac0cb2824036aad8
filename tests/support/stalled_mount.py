"""A filesystem with one file, whose server answers at first, and never what is written to the file or flushed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from struct import Struct
from threading import Thread
from typing import Self

from runwasi.linux.mounts import MNT_DETACH, mount, umount

_MNT_FORCE = 1

# linux/fuse.h
_LOOKUP, _GETATTR, _OPEN, _INIT, _OPENDIR = 1, 3, 14, 26, 27
_FORGET, _BATCH_FORGET = 2, 42
WRITE, FLUSH = 16, 25
_IN_HEADER = Struct("=IIQQ")  # the beginning of struct fuse_in_header: len, opcode, unique, nodeid
_OUT_HEADER = Struct("=IiQ")  # len, error, unique
_ATTR = Struct("=6Q10I")  # ino to ctime, nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags
_INIT_OUT = Struct("=4I2H2I2H8I")
_ROOT, _FILE = 1, 2
_ENOSYS = 38
_MAX_REQUEST = 1 << 18


class StalledMount:
    """FUSE mounted at a folder that is made for it: each name in it is the same empty file."""

    def __init__(self, point: Path, *stalls: int) -> None:
        """Mount it; the requests of these kinds get no answer."""
        point.mkdir(parents=True)
        self._point = point
        self._stalls = {*stalls, _FORGET, _BATCH_FORGET}
        self._server = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0,allow_other"
        mount("stalled", str(point), "fuse", 0, options)
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        umount(str(self._point), _MNT_FORCE | MNT_DETACH)
        self._thread.join()
        os.close(self._server)

    def _serve(self) -> None:
        try:
            while True:
                request = os.read(self._server, _MAX_REQUEST)
                _, kind, unique, node = _IN_HEADER.unpack_from(request)
                if kind not in self._stalls:
                    self._answer(kind, unique, node)
        except OSError:
            return  # it is unmounted

    def _answer(self, kind: int, unique: int, node: int) -> None:
        answers = {
            _INIT: _INIT_OUT.pack(7, 31, 0, 0, 16, 12, 1 << 16, 1, 16, 0, *(0,) * 8),
            _LOOKUP: Struct("=4Q2I").pack(_FILE, 0, 1000, 1000, 0, 0) + _attributes(_FILE),
            _GETATTR: Struct("=Q2I").pack(1000, 0, 0) + _attributes(node),
            _OPEN: Struct("=Q2I").pack(1, 0, 0),
            _OPENDIR: Struct("=Q2I").pack(1, 0, 0),
        }
        content = answers.get(kind, b"")
        error = 0 if kind in answers or kind == FLUSH else -_ENOSYS
        os.write(self._server, _OUT_HEADER.pack(_OUT_HEADER.size + len(content), error, unique) + content)


def _attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o666
    return _ATTR.pack(node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
