"""A folder whose filesystem takes mappings of ids, on kernels too where that of the tests takes none."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from runwasi.linux.idmap import IdMap, user_namespace_for
from runwasi.linux.mount_fds import map_owners, open_tree

_SIZE = 8 << 20


@contextlib.contextmanager
def mappable_folder(folder: Path) -> Iterator[Path]:
    """The folder itself, or what is in a new ext4, which takes mappings since Linux 5.12, that is mounted on it."""
    if _takes_mappings(folder):
        yield folder
        return
    image = folder.with_name(f"{folder.name}.ext4")
    image.touch()
    os.truncate(image, _SIZE)
    for command in (f"mkfs.ext4 -q {image}", "modprobe loop", f"mount -o loop {image} {folder}"):
        subprocess.run(command.split(), check=True, stdin=subprocess.DEVNULL)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _takes_mappings(folder: Path) -> bool:
    mapping = [IdMap(0, 1, 1)]
    userns = user_namespace_for(mapping, mapping)
    tree = open_tree(str(folder))
    try:
        map_owners(tree, userns)
    except OSError:
        return False
    finally:
        os.close(tree)
        os.close(userns)
    return True
