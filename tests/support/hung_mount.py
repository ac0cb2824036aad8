"""A filesystem whose server answers nothing, as that of a network that is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from runwasi.linux.mounts import MNT_DETACH, mount, umount


class HungMount:
    """FUSE mounted at a folder that is made for it: whoever looks inside waits until it is given up."""

    def __init__(self, point: Path) -> None:
        point.mkdir(parents=True)
        self._point = point
        self._server = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0,allow_other"
        mount("hung", str(point), "fuse", 0, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.give_up()
        umount(str(self._point), MNT_DETACH)

    def give_up(self) -> None:
        """Fail what waits, and all that comes, with ENOTCONN."""
        if self._server >= 0:
            os.close(self._server)
            self._server = -1
