"""A neighbour keeps exchanging a folder of a shared volume for a link to the host's, all the while containers live.

Each place of a config.json that names a path is in that folder in turn. Whatever becomes of the container, no file of
the host's folder is opened, made or changed, and nothing is mounted there.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle
from devtools.places import BUSYBOX
from runwasi.executor.lifecycle import deletion
from runwasi.executor.mounts.copy_up import copy_tree
from runwasi.linux.inotify import watch
from runwasi.linux.mount_fds import move_mount, new_mount
from runwasi.linux.mounts import mount, mounted_below
from runwasi.linux.namespaces import CLONE_NEWNS
from runwasi.linux.terminal import open_pty
from tests.integration.conftest import BundleMaker
from tests.support.exchange import exchanging
from tests.support.in_namespaces import run_in
from tests.support.runtime import Runtime

LIVES = 6
ALL_EVENTS = 0xFFF
"""IN_ALL_EVENTS of linux/inotify.h: opened, read, changed, made, renamed, removed."""

SECONDS = 240
"""After these, a test's process that waits for ever is killed."""


def _in_mounts(**mount: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["mounts"].append({"destination": "/volume/place/there", **mount})


def _in_process(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["process"].update(members)


def _in_linux(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["linux"].update(members)


_NULL = {"path": "/volume/place/there/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}
_SHOW = "cat /etc/passwd; echo $HOME; find /volume/place -type f -exec cat {} +"

PLACES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a mount": _in_mounts(type="tmpfs", source="tmpfs"),
    "a mount that is filled": _in_mounts(type="tmpfs", source="tmpfs", options=["tmpcopyup"]),
    "a mount with long options": _in_mounts(
        type="tmpfs", source="tmpfs", options=["mode=" + "0" * 300 + "755"]
    ),
    "a remount": lambda config: [
        _in_mounts(type="tmpfs", source="tmpfs")(config),
        _in_mounts(options=["remount", "ro"])(config),
    ],
    "a bind mount of itself": lambda config: _in_mounts(
        source=f"{config['root']['path']}/volume/place/there", options=["rbind"]
    )(config),
    "a cgroup mount": _in_mounts(type="cgroup", source="cgroup"),
    "a device": _in_linux(devices=[_NULL]),
    "a masked folder": _in_linux(maskedPaths=["/volume/place/there"]),
    "a masked file": _in_linux(maskedPaths=["/volume/place/file"]),
    "a read-only folder": _in_linux(readonlyPaths=["/volume/place/there"]),
    "the working directory": _in_process(cwd="/volume/place/new/folder"),
    "the user's entry": _in_process(user={"uid": 1000, "gid": 1000}),
    "the program": _in_process(args=["/volume/place/busybox", "sh", "-c", _SHOW]),
    "a module": _in_process(args=["/volume/place/app.wasm", "echo", "ran"]),
    "a module that is searched": _in_process(args=["app.wasm", "echo"], env=["PATH=/volume/place:/bin"]),
}


@pytest.fixture
def outside(folder: Path, wasi_demo_app: bytes) -> Iterator[Path]:
    """A folder of the host with everything that the containers look for: none of it may be opened or changed."""
    path = folder / "outside"
    _fill(path, "of the host", wasi_demo_app)
    folders = [path, path / "there", path / "etc"]
    before = [list_all(path) for path in folders]
    watches = [watch(str(path), ALL_EVENTS) for path in folders]
    yield path
    events = []
    for fd in watches:
        try:
            events.append(os.read(fd, 4096))
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
    assert events == []
    assert [list_all(path) for path in folders] == before


def _fill(path: Path, text: str, module: bytes) -> None:
    """Make what the containers look for."""
    (path / "there").mkdir(parents=True)
    (path / "there/data").write_text(text)
    (path / "file").write_text(text)
    (path / "etc").mkdir()
    (path / "etc/passwd").write_text(f"user:x:1000:1000::/home {text}:/bin/sh\n")
    (path / "app.wasm").write_bytes(module)
    shutil.copy(BUSYBOX, path / "busybox")


def list_all(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return the names in a folder, with their kinds and times."""
    found = [path.lstat() for path in sorted(folder.iterdir())]
    names = sorted(os.listdir(folder))
    return [
        (name, item.st_mode, item.st_size, item.st_ctime_ns) for name, item in zip(names, found, strict=True)
    ]


@pytest.fixture
def volume(folder: Path, outside: Path, wasi_demo_app: bytes) -> Path:
    """The neighbour's volume: a folder, and a link to the host's that has the same things in it."""
    path = folder / "volume"
    _fill(path / "place", "of the container", wasi_demo_app)
    (path / "link").symlink_to(outside)
    return path


@pytest.fixture
def sharing(bundle: BundleMaker, folder: Path, volume: Path, outside: Path) -> Bundle:
    """A container with the volume, whose hook writes down what it has mounted out of its root."""
    made = bundle(["sh", "-c", _SHOW])
    (made.rootfs / "etc").rmdir()
    (made.rootfs / "etc").symlink_to("/volume/place/etc")
    made.config["mounts"].append(
        {"destination": "/volume", "source": str(volume), "options": ["rbind", "rslave"]}
    )
    made.config["root"]["path"] = str(made.rootfs)
    report = f"grep ' {outside}' /proc/self/mountinfo >>{folder}/escapes; true"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", report], "env": ["PATH=/bin:/usr/bin"]}
    made.config["hooks"] = {"createContainer": [hook]}
    (folder / "escapes").touch()
    return made


@pytest.mark.parametrize("place", PLACES)
def test_a_life_beside_a_neighbour_that_exchanges_folders_for_links_opens_nothing_outside(
    runwasi: Runtime, sharing: Bundle, volume: Path, folder: Path, container_id: str, place: str
) -> None:
    PLACES[place](sharing.config)
    sharing.write()
    lived = 0
    with exchanging(volume / "place", volume / "link"):
        for number in range(LIVES):
            done = runwasi("run", "--bundle", sharing.path, f"{container_id}-{number}", check=False)
            assert "Traceback" not in done.stderr
            assert "of the host" not in done.stdout + done.stderr
            assert not (runwasi.root / f"{container_id}-{number}").exists()
            lived += done.returncode == 0
    print(place, f"{lived} of {LIVES} ran")
    assert (folder / "escapes").read_text() == ""


def in_time(body: Callable[[], Any], flags: int = CLONE_NEWNS) -> Any:
    """Return what body returns in a process that is killed if it waits for ever."""

    def limited() -> Any:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it is pytest's
        signal.alarm(SECONDS)
        return body()

    return run_in(flags, limited, private=True)


@pytest.mark.parametrize("what", ["a FIFO", "a device", "a link"])
def test_a_file_that_is_exchanged_while_it_is_copied_is_not_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    source, target, secret = folder / "source", folder / "target", folder / "secret"
    source.mkdir()
    target.mkdir()
    secret.write_text("of the host")
    if what == "a FIFO":
        os.mkfifo(source / "file")
    elif what == "a device":
        os.mknod(source / "file", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # it never ends
    else:
        (source / "file").symlink_to(secret)
    before = secret.stat()

    def copied() -> str:
        monkeypatch.setattr(os, "stat", lambda *_, **__: before)  # a file, when copy_tree looks
        with pytest.raises(OSError, match="changed while it was copied") as refusal:
            copy_tree(_folder(source), _folder(target))
        return str(refusal.value)

    assert "it was changed while it was copied: 'file'" in in_time(copied, 0)
    assert os.listdir(target) == []


def _folder(path: Path) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY)


def test_a_folder_that_is_nested_without_end_is_not_copied(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    filled = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    made.config["mounts"].append(filled)
    deepest = os.open(made.rootfs / "tmp", os.O_PATH)
    for _ in range(sys.getrecursionlimit() // 2):
        os.mkdir("a", dir_fd=deepest)
        below = os.open("a", os.O_PATH, dir_fd=deepest)
        os.close(deepest)
        deepest = below
    os.close(deepest)
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    subprocess.run(["rm", "-r", made.rootfs / "tmp"], check=True)
    assert done.returncode == 1
    assert "mount /tmp: folders to copy are nested more than 200 deep ($.mounts[" in done.stderr


def test_a_terminal_is_never_one_of_the_hosts(folder: Path) -> None:
    root = folder / "root"
    (root / "dev/pts").mkdir(parents=True)
    (root / "link").symlink_to("/dev")
    hosts = os.stat("/dev/pts").st_dev

    def terminals() -> tuple[int, set[int]]:
        mount("devpts", str(root / "dev/pts"), "devpts", data="newinstance,ptmxmode=0666")
        own = os.stat(root / "dev/pts").st_dev
        root_fd = _folder(root)
        found = {opened(root_fd)}
        with exchanging(root / "dev", root / "link"):
            for _ in range(400):
                try:
                    found.add(opened(root_fd))
                except OSError:
                    continue
        return own, found

    def opened(root_fd: int) -> int:
        pty = open_pty(root_fd)
        device = os.fstat(pty.slave).st_dev
        os.close(pty.master)
        os.close(pty.slave)
        return device

    own, found = in_time(terminals)
    assert found == {own}
    assert own != hosts


def test_a_mount_is_removed_by_what_it_is_and_not_by_its_path(folder: Path) -> None:
    rootfs, outside = folder / "rootfs", folder / "outside"
    for path in (rootfs / "a/proc", outside / "proc"):
        path.mkdir(parents=True)
    (rootfs / "link").symlink_to(outside)

    def lives() -> list[str]:
        mount("tmpfs", str(outside / "proc"), "tmpfs")
        place = _folder(rootfs / "a/proc")
        with exchanging(rootfs / "a", rootfs / "link"):
            for _ in range(500):
                tree = new_mount("tmpfs", "tmpfs")
                move_mount(tree, place)
                os.close(tree)
                deletion._unmount(str(rootfs), [])
        return mounted_below(str(folder))

    assert in_time(lives) == [str(outside / "proc")]
