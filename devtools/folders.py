"""Removes folders that containers had mounts in."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path


def mounts_below(folder: Path) -> list[str]:
    """Mount points in the folder, the innermost first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def remove_cgroup(path: str) -> None:
    """Remove an empty cgroup, given by its path below the root, from every hierarchy that has it."""
    for hierarchy in (*Path("/sys/fs/cgroup").glob("*/"), Path("/sys/fs/cgroup")):
        with contextlib.suppress(FileNotFoundError):
            (hierarchy / path.strip("/")).rmdir()


def remove_folder(folder: Path) -> None:
    """Remove a folder, after unmounting what is in it: a bind of the host's root must not be emptied."""
    for point in mounts_below(folder):
        subprocess.run(["umount", "--lazy", point], check=True)
    shutil.rmtree(folder)
