"""The container's /dev: default devices, those of $.linux.devices, links and the console."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runwasi.executor.child.make_devices import bind_console
from runwasi.executor.errors import ContainerError
from runwasi.linux.idmap import IdMap
from runwasi.linux.terminal import open_pty
from tests.support.root_steps import DEV, DEVPTS, PROC, Json, Root, mount_table

pytestmark = pytest.mark.cgroup_v2


@pytest.fixture
def mapped_root(root: Root) -> Root:
    """A root for a user namespace."""
    root.namespaces.append("user")
    os.chown(root.rootfs, 100000, 100000)
    return root


def device(path: str) -> tuple[str, int, int, str]:
    """Describe a node: kind, major, minor, mode."""
    status = os.stat(path, follow_symlinks=False)
    kind = stat.filemode(status.st_mode)[0]
    return kind, os.major(status.st_rdev), os.minor(status.st_rdev), f"{stat.S_IMODE(status.st_mode):o}"


DEFAULTS = {
    "null": ("c", 1, 3, "666"),
    "zero": ("c", 1, 5, "666"),
    "full": ("c", 1, 7, "666"),
    "random": ("c", 1, 8, "666"),
    "urandom": ("c", 1, 9, "666"),
    "tty": ("c", 5, 0, "666"),
}


def test_the_default_devices_and_links_are_there(root: Root) -> None:
    def look() -> tuple[dict[str, object], dict[str, str]]:
        names = os.listdir("/dev")
        links = {name: os.readlink(f"/dev/{name}") for name in names if os.path.islink(f"/dev/{name}")}
        return {name: device(f"/dev/{name}") for name in DEFAULTS}, links

    devices, links = root.enter(look, [PROC, DEV, DEVPTS])
    assert devices == DEFAULTS
    links.pop("core", None)  # where the kernel has /proc/kcore
    assert links == {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }


def test_default_devices_work(root: Root) -> None:
    def look() -> tuple[int, bytes, int]:
        return (
            Path("/dev/null").write_bytes(b"gone"),
            Path("/dev/null").read_bytes(),
            len(os.listdir("/dev/fd")),
        )

    written, read, fds = root.enter(look, [PROC, DEV])
    assert (written, read) == (4, b"")
    assert fds > 0


def test_an_ordinary_file_of_the_image_gives_way_to_a_default_device(root: Root) -> None:
    (root.rootfs / "dev").mkdir()
    (root.rootfs / "dev/null").write_text("exported")
    assert root.enter(lambda: device("/dev/null")) == DEFAULTS["null"]


@pytest.mark.parametrize("mapped", [False, True])
def test_what_is_mounted_in_the_place_of_a_default_device_stays(
    root: Root, mapped_root: Root, folder: Path, mapped: bool
) -> None:
    """Often /dev/urandom at /dev/random, for programs that wait for the latter."""
    (folder / "null").write_text("instead")
    (folder / "null").chmod(0o644)
    binds = [
        {"destination": "/dev/random", "source": "/dev/urandom", "options": ["rbind"]},
        {"destination": "/dev/null", "source": str(folder / "null"), "options": ["bind"]},
    ]
    chosen = mapped_root if mapped else root
    seen = chosen.enter(lambda: (device("/dev/random"), Path("/dev/null").read_text()), [PROC, DEV, *binds])
    assert seen == (DEFAULTS["urandom"], "instead")


def test_a_dev_bound_from_elsewhere_is_left_alone(root: Root, folder: Path) -> None:
    (folder / "dev").mkdir()
    bind = {"destination": "/dev/", "source": str(folder / "dev"), "options": ["bind"]}
    assert root.enter(lambda: os.listdir("/dev"), [bind]) == []


@pytest.mark.parametrize(
    ("link", "target", "destination"),
    [("data", "/dev", "/data"), ("dev", "/data", "/data"), ("dev", "data/sub", "/data")],
)
def test_a_hosts_folder_that_a_link_makes_dev_is_left_alone(
    root: Root, folder: Path, link: str, target: str, destination: str
) -> None:
    source = folder / "volume"
    (source / "sub").mkdir(parents=True)
    for kept in (source / "null", source / "sub/null"):
        kept.write_text("the host's")
    (root.rootfs / link).symlink_to(target)
    (root.rootfs / target.lstrip("/").partition("/")[0]).mkdir()
    bind = {"destination": "/data", "source": str(source), "options": ["bind"]}
    root.enter(lambda: None, [bind])
    assert sorted(str(path.relative_to(source)) for path in source.rglob("*")) == ["null", "sub", "sub/null"]
    assert (source / "null").read_text() == (source / "sub/null").read_text() == "the host's"


def test_a_read_only_dev_is_filled_first(root: Root) -> None:
    def look() -> tuple[object, set[str]]:
        return device("/dev/null"), mount_table()["/dev"].options

    found, options = root.enter(look, [PROC, {**DEV, "options": ["ro", "nosuid"]}])
    assert found == DEFAULTS["null"]
    assert "ro" in options


def test_devices_of_the_spec_have_their_type_number_mode_and_owners(root: Root) -> None:
    devices: list[Json] = [
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 5, "gid": 6},
        {"type": "b", "path": "/dev/below/disk", "major": 7, "minor": 9},
        {"type": "p", "path": "/run/fifo", "fileMode": 0o640},
        {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600},
    ]

    def look() -> tuple[object, ...]:
        status = os.stat("/dev/fuse")
        return (
            device("/dev/fuse"),
            (status.st_uid, status.st_gid),
            device("/dev/below/disk"),
            device("/run/fifo"),
            device("/dev/null"),
        )

    assert root.enter(look, [PROC, DEV], {"devices": devices}) == (
        ("c", 10, 229, "600"),
        (5, 6),
        ("b", 7, 9, "666"),
        ("p", 0, 0, "640"),
        ("c", 1, 3, "600"),
    )


def test_another_file_in_the_place_of_a_device_is_an_error(root: Root) -> None:
    (root.rootfs / "file").touch()
    devices = [{"type": "c", "path": "/file", "major": 10, "minor": 229}]
    with pytest.raises(
        ContainerError, match=r"device /file: .*something else is there \(\$\.linux\.devices\[0\]\)"
    ):
        root.enter(lambda: None, linux={"devices": devices})


def test_a_user_namespace_gets_the_hosts_devices(mapped_root: Root) -> None:
    def look() -> tuple[dict[str, object], bytes, set[str]]:
        options = mount_table()["/dev/zero"].options
        nodes: dict[str, object] = {name: device(f"/dev/{name}") for name in DEFAULTS}
        return nodes, Path("/dev/zero").open("rb").read(3), options

    devices, zeroes, options = mapped_root.enter(look, [PROC, DEV, DEVPTS])
    assert devices == DEFAULTS
    assert zeroes == bytes(3)
    assert {"nosuid", "noexec"} <= options


def test_a_user_namespace_gets_no_device_that_the_host_has_not_there(mapped_root: Root) -> None:
    devices = [{"type": "c", "path": "/dev/zero", "major": 1, "minor": 7}]
    with pytest.raises(ContainerError, match=r"another device there.*\$\.linux\.devices\[0\]"):
        mapped_root.enter(lambda: None, [PROC, DEV], {"devices": devices})


def test_a_devpts_does_without_a_group_that_is_not_mapped(mapped_root: Root) -> None:
    one_id = [{"containerID": 0, "hostID": 100000, "size": 1}]
    line = mapped_root.enter(
        lambda: mount_table()["/dev/pts"],
        [PROC, DEV, DEVPTS],
        {"uidMappings": one_id, "gidMappings": one_id},
        maps=[IdMap(0, 100000, 1)],
    )
    assert "mode=620" in line.super_options


def test_the_console_is_the_containers_own_pty(root: Root) -> None:
    def look() -> tuple[str, bool, bytes]:
        fd = os.open("/", os.O_PATH)
        pty = open_pty(fd)
        bind_console(pty.slave)
        same = os.path.samestat(os.stat("/dev/console"), os.fstat(pty.slave))
        with open("/dev/console", "wb", 0) as console:
            console.write(b"hello")
        return pty.name, same, os.read(pty.master, 5)

    assert root.enter(look, [PROC, DEV, DEVPTS]) == ("/dev/pts/0", True, b"hello")


def test_nothing_but_a_pty_becomes_the_console(root: Root) -> None:
    def look() -> None:
        bind_console(os.open("/dev/null", os.O_RDWR))

    with pytest.raises(ContainerError, match="not a pty"):
        root.enter(look, [PROC, DEV, DEVPTS])
