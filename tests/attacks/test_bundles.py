"""A config.json whose every path is a trap, and a rootfs whose folders are: an error or a container, nothing outside.

Each path of the configuration in turn leads up, through links out of the root, into /proc, to a FIFO, or is far too
long; each folder of the root that the runtime uses is in turn a link out, a FIFO, a file or a loop.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle
from devtools.places import BUSYBOX
from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime

PROGRAM = {"/bin/true": BUSYBOX.read_bytes()}
_TMPFS = {"type": "tmpfs", "source": "tmpfs"}
_PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}],
}

PLACES: dict[str, Callable[[dict[str, Any], str], object]] = {
    "root.path": lambda config, path: config["root"].update(path=path),
    "process.cwd": lambda config, path: config["process"].update(cwd=path),
    "process.args": lambda config, path: config["process"].update(args=[path]),
    "mounts.destination": lambda config, path: config["mounts"].append({"destination": path, **_TMPFS}),
    "mounts.source": lambda config, path: config["mounts"].append(
        {"destination": "/tmp", "source": path, "options": ["rbind", "ro"]}
    ),
    "mounts of a link": lambda config, path: config["mounts"].append(
        {"destination": path, "source": "/etc/hostname", "options": ["bind"]}
    ),
    "linux.maskedPaths": lambda config, path: config["linux"]["maskedPaths"].append(path),
    "linux.readonlyPaths": lambda config, path: config["linux"]["readonlyPaths"].append(path),
    "linux.devices": lambda config, path: config["linux"].update(
        devices=[{"path": path, "type": "c", "major": 1, "minor": 5, "fileMode": 0o666}]
    ),
    "linux.namespaces": lambda config, path: config["linux"]["namespaces"][1].update(path=path),
    "linux.seccomp.listenerPath": lambda config, path: config["linux"].update(
        seccomp={**_PROFILE, "listenerPath": path}
    ),
    "hooks": lambda config, path: config.update(hooks={"createContainer": [{"path": path}]}),
    "annotations": lambda config, path: config.update(annotations={"io.runwasi.preopens": f"/x={path}"}),
    "annotation of a pod": lambda config, path: config.update(
        annotations={"io.kubernetes.cri.sandbox-id": path}
    ),
}

PATHS = (
    "",
    ".",
    "../../../../../../..{outside}",
    "/..{outside}/new",
    "/link/new",
    "/up/file",
    "/loop/new",
    "/fifo",
    "/file/below",
    "/proc/self/root{outside}/new",
    "/proc/self/fd/3",
    "/proc/self/exe",
    "/proc/1/attr/exec",
    "/dev/full",
    "a\nb",
    "/tmp\0/new",
    "/" + "x" * 300,
    "/" + "a/" * 2500,
)


SOMETHING_ELSE: dict[str, Callable[[Path, Path], object]] = {
    "a link out": lambda place, outside: place.symlink_to(outside),
    "a link up": lambda place, outside: place.symlink_to(f"../../../../../../../..{outside}"),
    "a link into /proc": lambda place, _: place.symlink_to("/proc/self/cwd"),
    "a link to nothing": lambda place, outside: place.symlink_to(outside / "new"),
    "a loop": lambda place, _: place.symlink_to(place.name),
    "a FIFO": lambda place, _: os.mkfifo(place),
    "a file": lambda place, _: place.touch(),
    "a device": lambda place, _: os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
}
FOLDERS = ("proc", "sys", "dev", "dev/pts", "dev/null", "etc", "etc/passwd", "tmp", "tmp/made", "root")


@pytest.fixture
def outside(folder: Path) -> Iterator[Path]:
    """A folder of the host that must be as it was, and have no mounts."""
    path = folder / "outside"
    path.mkdir()
    (path / "file").write_text("of the host")
    before = all_of(path)
    yield path
    assert all_of(path) == before
    assert f" {path}" not in Path("/proc/self/mountinfo").read_text()


def all_of(folder: Path) -> list[tuple[str, int, int, int, int, bytes]]:
    """Return what there is to know of a folder and the files in it."""
    found = []
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((str(path), status.st_mode, status.st_uid, status.st_ino, status.st_mtime_ns, content))
    return found


def tried(runwasi: Runtime, made: Bundle, container_id: str) -> bool:
    """Run a container, and return whether there was one; if not, an error says why, and nothing is left."""
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert "Traceback" not in done.stderr
    assert not (runwasi.root / container_id).exists()
    assert done.returncode == 0 or done.stderr, made.config
    return done.returncode == 0


@pytest.mark.parametrize("place", PLACES)
def test_a_path_that_is_a_trap_touches_nothing_outside(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, outside: Path, place: str
) -> None:
    worked = 0
    for number, path in enumerate(PATHS):
        made = bundle(["/bin/true"], files=PROGRAM, busybox=False)
        links = {"link": str(outside), "up": f"../../../../../../../..{outside}", "loop": "loop"}
        for name, target in links.items():
            (made.rootfs / name).symlink_to(target)
        os.mkfifo(made.rootfs / "fifo")
        (made.rootfs / "file").touch()
        PLACES[place](made.config, path.format(outside=outside))
        worked += tried(runwasi, made, f"{container_id}-{number}")
        shutil.rmtree(made.path)
    print(place, f"{worked} of {len(PATHS)} ran")


@pytest.mark.parametrize("kind", SOMETHING_ELSE)
def test_a_root_whose_folders_are_traps_touches_nothing_outside(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, outside: Path, kind: str
) -> None:
    worked = 0
    for number, name in enumerate(FOLDERS):
        made = bundle(["/bin/true"], files=PROGRAM, busybox=False)
        made.process["user"] = {"uid": 1000, "gid": 1000}
        made.config["mounts"] += [
            {"destination": f"/{where}/made", **_TMPFS} for where in ("tmp", "etc", "root")
        ]
        place = made.rootfs / name
        if place.is_dir():
            place.rmdir()
        SOMETHING_ELSE[kind](place, outside)
        worked += tried(runwasi, made, f"{container_id}-{number}")
        shutil.rmtree(made.path)
    print(kind, f"{worked} of {len(FOLDERS)} ran")
