"""A filesystem whose server answers nothing, as that of a network that is gone, and a way into a container."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from devtools.bundle import Bundle
from runwasi.linux.mounts import MNT_DETACH, MS_BIND, MS_SHARED, mount, umount


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


def shared_folder(made: Bundle, folder: Path) -> Path:
    """Make a folder that a container has at /shared; what is mounted below it later arrives there. Returns it."""
    folder.mkdir()
    mount(str(folder), str(folder), None, MS_BIND)
    mount(None, str(folder), None, MS_SHARED)
    options = ["rbind", "rslave"]
    made.config["mounts"].append(
        {"destination": "/shared", "type": "bind", "source": str(folder), "options": options}
    )
    return folder
