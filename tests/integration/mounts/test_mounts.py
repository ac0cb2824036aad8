"""Everything of $.mounts: sources, destinations, options, and what a failure says."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.linux.mounts import (
    MS_BIND,
    MS_NOATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_REMOUNT,
    mount,
)
from runwasi.linux.namespaces import CLONE_NEWNS
from tests.support.id_mapped import mappable_folder
from tests.support.in_namespaces import run_in
from tests.support.root_steps import PROC, Json, Root, mount_table

pytestmark = pytest.mark.cgroup_v2


@pytest.fixture
def volume(folder: Path) -> Path:
    path = folder / "volume"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_text("content")
    return path


def bind(source: Path | str, *options: str, to: str = "/volume") -> Json:
    return {"destination": to, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def attempt(write: Callable[[], object]) -> str:
    """Write, and return the error in words or "done"."""
    try:
        write()
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "done"


def test_a_destination_is_made_as_what_its_source_is(root: Root, volume: Path) -> None:
    mounts = [bind(volume, to="/new/folder"), bind(volume / "file", to="/new/file")]
    look = lambda: (os.listdir("/new/folder"), Path("/new/file").read_text())  # noqa: E731
    names, content = root.enter(look, mounts)
    assert sorted(names) == ["file", "sub"]
    assert content == "content"


def test_a_relative_source_starts_at_the_bundle(root: Root) -> None:
    (root.bundle / "data").write_text("from the bundle")
    assert root.enter(lambda: Path("/x").read_text(), [bind("data", to="/x")]) == "from the bundle"


def test_a_relative_destination_starts_at_the_root(root: Root, volume: Path) -> None:
    assert root.enter(lambda: Path("/v/file").read_text(), [bind(volume, to="v")]) == "content"


def test_a_destination_may_be_given_as_the_hosts_path(root: Root, volume: Path) -> None:
    to = f"{root.rootfs}/made/v"
    assert root.enter(lambda: Path("/made/v/file").read_text(), [bind(volume, to=to)]) == "content"


def test_a_read_only_bind_leaves_the_source_writable_on_the_host(root: Root, volume: Path) -> None:
    look = lambda: attempt(lambda: Path("/volume/new").write_text(""))  # noqa: E731
    assert root.enter(look, [bind(volume, "ro")]) == "Read-only file system"
    (volume / "new").write_text("")


def options_of_a_copy(root: Root, source: Path, flags: int, *options: str) -> set[str]:
    """Return a bind mount's options in the container, of a source that is mounted with these MS_* flags."""
    source.mkdir()

    def on_the_host() -> set[str]:
        mount("tmpfs", str(source), "tmpfs", MS_NOSUID)
        mount(None, str(source), None, MS_BIND | MS_REMOUNT | flags)
        return root.enter(lambda: mount_table()["/volume"].options, [PROC, bind(source, *options)])

    return run_in(CLONE_NEWNS, on_the_host, private=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"rw", "nosuid", "noatime"}),
        (("rprivate",), {"rw", "nosuid", "noatime"}),
        (("ro", "noexec"), {"ro", "noexec", "noatime"}),
        (("rw",), {"rw", "noatime"}),
        (("nosuid", "relatime"), {"rw", "nosuid", "relatime"}),
    ],
)
def test_a_bind_mount_keeps_its_sources_attributes_unless_an_option_changes_them(
    root: Root, folder: Path, options: tuple[str, ...], expected: set[str]
) -> None:
    assert options_of_a_copy(root, folder / "source", MS_NOSUID | MS_NOATIME, *options) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [(("ro",), {"ro", "nosuid", "noexec"}), (("suid", "symfollow"), {"rw", "noexec"})],
)
def test_in_a_user_namespace_options_change_only_what_they_name(
    root: Root, folder: Path, options: tuple[str, ...], expected: set[str]
) -> None:
    root.namespaces.append("user")
    os.chown(root.rootfs, 100000, 100000)
    found = options_of_a_copy(root, folder / "source", MS_NOSUID | MS_NOEXEC | MS_NOSYMFOLLOW, *options)
    assert found == expected | {"relatime"}


def test_explicit_rw_makes_a_copy_of_a_read_only_mount_writable(root: Root, volume: Path) -> None:
    def on_the_host() -> str:
        mount(str(volume), str(volume), None, MS_BIND)
        mount(None, str(volume), None, MS_BIND | MS_REMOUNT | MS_RDONLY)
        return root.enter(lambda: attempt(lambda: Path("/volume/new").write_text("")), [bind(volume, "rw")])

    assert run_in(CLONE_NEWNS, on_the_host, private=True) == "done"


@pytest.mark.parametrize(("option", "below"), [("ro", "done"), ("rro", "Read-only file system")])
def test_recursive_attributes_hold_for_the_mounts_below(
    root: Root, volume: Path, option: str, below: str
) -> None:
    def on_the_host() -> str:
        mount("tmpfs", str(volume / "sub"), "tmpfs")
        return root.enter(
            lambda: attempt(lambda: Path("/volume/sub/new").write_text("")), [bind(volume, option)]
        )

    assert run_in(CLONE_NEWNS, on_the_host, private=True) == below


def test_plain_bind_leaves_out_the_mounts_below(root: Root, volume: Path) -> None:
    plain = {"destination": "/volume", "source": str(volume), "options": ["bind"]}

    def on_the_host() -> list[str]:
        mount("tmpfs", str(volume / "sub"), "tmpfs")
        (volume / "sub/hidden").touch()
        return root.enter(lambda: os.listdir("/volume/sub"), [plain])

    assert run_in(CLONE_NEWNS, on_the_host, private=True) == []


@pytest.mark.parametrize(
    ("option", "seen"),
    [
        ("noatime", "noatime"),
        ("strictatime", None),
        ("nodiratime", "nodiratime"),
        ("nosymfollow", "nosymfollow"),
    ],
)
def test_access_times_and_links(root: Root, volume: Path, option: str, seen: str | None) -> None:
    options = root.enter(lambda: mount_table()["/volume"].options, [PROC, bind(volume, option)])
    assert (seen in options) if seen else not options & {"relatime", "noatime"}


def test_a_mount_point_below_a_read_only_tmpfs_can_be_made(root: Root, volume: Path) -> None:
    tmpfs = {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}

    def look() -> tuple[str, str]:
        return Path("/run/volume/file").read_text(), attempt(lambda: Path("/run/new").touch())

    assert root.enter(look, [tmpfs, bind(volume, to="/run/volume")]) == ("content", "Read-only file system")


def test_a_tmpfs_has_the_mode_of_what_it_covers_unless_told(root: Root) -> None:
    for name in ("kept", "told"):
        (root.rootfs / name).mkdir()
        (root.rootfs / name).chmod(0o711)
    mounts: list[Json] = [
        {"destination": "/kept", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/told", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
    ]
    look = lambda: [stat.S_IMODE(os.stat(path).st_mode) for path in ("/kept", "/told")]  # noqa: E731
    assert root.enter(look, mounts) == [0o711, 0o1777]


def test_tmpcopyup_fills_a_tmpfs_with_what_it_covers(root: Root) -> None:
    image = root.rootfs / "etc"
    (image / "below").mkdir(parents=True)
    (image / "below/file").write_text("x" * 100_000)
    (image / "below/file").chmod(0o640)
    os.chown(image / "below/file", 12, 34)
    os.utime(image / "below/file", (1_000, 2_000))
    os.setxattr(image / "below/file", "trusted.test", b"value")
    (image / "link").symlink_to("/etc/shadow")
    os.mkfifo(image / "fifo")
    tmpfs = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}

    def look() -> tuple[object, ...]:
        status = os.stat("/etc/below/file")
        return (
            mount_table()["/etc"].fstype,
            Path("/etc/below/file").read_text() == "x" * 100_000,
            (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime),
            os.getxattr("/etc/below/file", "trusted.test"),
            os.readlink("/etc/link"),
            stat.S_ISFIFO(os.stat("/etc/fifo").st_mode),
        )

    expected = ("tmpfs", True, (0o640, 12, 34, 2_000.0), b"value", "/etc/shadow", True)
    assert root.enter(look, [PROC, tmpfs]) == expected


@pytest.fixture
def mappable(folder: Path) -> Iterator[Path]:
    """A volume on a filesystem that takes mappings of ids."""
    place = folder / "mappable"
    place.mkdir()
    with mappable_folder(place):
        (place / "file").touch()
        yield place


def test_an_id_mapped_bind_maps_the_owners(root: Root, mappable: Path) -> None:
    mapping = [{"containerID": 0, "hostID": 5000, "size": 100}]
    mounts = [{**bind(mappable, "idmap"), "uidMappings": mapping, "gidMappings": mapping}]
    assert root.enter(lambda: os.stat("/volume/file").st_uid, mounts) == 5000


def test_an_id_mapped_bind_of_an_unmappable_filesystem_is_refused_in_plain_words(root: Root) -> None:
    mapping = [{"containerID": 0, "hostID": 5000, "size": 100}]
    mounts = [{**bind("/proc", "idmap"), "uidMappings": mapping, "gidMappings": mapping}]
    refusal = r"filesystem does not support id mappings on this kernel \(\$\.mounts\[0\]\.uidMappings\)"
    with pytest.raises(ContainerError, match=refusal):
        root.enter(lambda: None, mounts)


def test_an_id_mapped_bind_takes_the_mapping_of_the_container(root: Root, mappable: Path) -> None:
    root.namespaces.append("user")
    os.chown(root.rootfs, 100000, 100000)
    assert root.enter(lambda: os.stat("/volume/file").st_uid, [bind(mappable, "idmap")]) == 0
    assert root.enter(lambda: os.stat("/volume/file").st_uid, [bind(mappable)]) == 65534


def test_a_remount_changes_the_mount_that_is_there(root: Root) -> None:
    tmpfs = {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}
    again = {"destination": "/run", "options": ["remount", "noexec", "size=2m"]}
    line = root.enter(lambda: mount_table()["/run"], [PROC, tmpfs, again])
    assert "noexec" in line.options
    assert "size=2048k" in line.super_options


def test_options_longer_than_the_newer_calls_take(root: Root, folder: Path) -> None:
    layers = [folder / f"{number:02}-{'x' * 60}" for number in range(6)]
    for layer in layers:
        layer.mkdir()
        (layer / layer.name[:2]).touch()
    lower = ":".join(map(str, layers))
    overlay = {
        "destination": "/o",
        "type": "overlay",
        "source": "overlay",
        "options": ["ro", f"lowerdir={lower}"],
    }

    def look() -> tuple[list[str], bool]:
        return sorted(os.listdir("/o")), "ro" in mount_table()["/o"].options

    assert root.enter(look, [PROC, overlay]) == (["00", "01", "02", "03", "04", "05"], True)


def test_cgroup_v1_is_laid_out_with_the_containers_own_directories(root: Root, folder: Path) -> None:
    # Any directories do: they are bound as they are.
    host = folder / "cgroups"
    for name in ("cpu,cpuacct", "memory", "systemd"):
        (host / name / "mine").mkdir(parents=True)
    (host / "memory/mine/tasks").touch()

    def on_the_host() -> tuple[dict[str, str], list[str], str]:
        mount(str(host), "/sys/fs/cgroup", None, MS_BIND)
        paths = {
            "cpu": "/sys/fs/cgroup/cpu,cpuacct/mine",
            "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/mine",
            "memory": "/sys/fs/cgroup/memory/mine",
            "name=systemd": "/sys/fs/cgroup/systemd/mine",
        }
        root.cgroup_paths = paths
        cgroup = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        return root.enter(look, [PROC, cgroup])

    def look() -> tuple[dict[str, str], list[str], str]:
        place = "/sys/fs/cgroup"
        links = {
            name: os.readlink(f"{place}/{name}")
            for name in os.listdir(place)
            if os.path.islink(f"{place}/{name}")
        }
        return links, os.listdir(f"{place}/memory"), attempt(lambda: Path(f"{place}/memory/new").touch())

    links, tasks, written = run_in(CLONE_NEWNS, on_the_host, private=True)
    assert links == {"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct"}
    assert tasks == ["tasks"]
    assert written == "Read-only file system"


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (
            {"destination": "/x", "type": "nope", "source": "x"},
            "kernel knows no filesystem nope ($.mounts[1].type)",
        ),
        ({"destination": "/x"}, "neither a type nor the option bind or rbind is given ($.mounts[1].type)"),
        (
            {"destination": "/x", "type": "tmpfs", "source": "x", "options": ["size=much"]},
            "set option size: tmpfs: Bad value for 'size' ($.mounts[1])",
        ),
        (
            {"destination": "/x", "source": "/does/not/exist", "options": ["bind"]},
            "open_tree /does/not/exist: No such file or directory ($.mounts[1].source)",
        ),
        (
            {"destination": "/file", "source": "/", "options": ["bind"]},
            "Not a directory ($.mounts[1].destination)",
        ),
        (
            {"destination": "/folder", "source": "/bin/sh", "options": ["bind"]},
            "one of source and destination is a directory, the other is not ($.mounts[1].destination)",
        ),
        (
            {"destination": "/", "type": "tmpfs", "source": "x"},
            "the root itself cannot be mounted over ($.mounts[1].destination)",
        ),
        (
            {"destination": "/x", "type": "tmpfs", "source": "x", "options": ["idmap"]},
            "only a bind mount can be id-mapped ($.mounts[1].options)",
        ),
        (
            {"destination": "/x", "source": "/", "options": ["bind", "idmap"]},
            "an id-mapped mount needs mappings, its own or the container's ($.mounts[1].options)",
        ),
    ],
)
def test_a_failure_names_the_mount_and_the_member_at_fault(root: Root, mount: Json, message: str) -> None:
    (root.rootfs / "file").touch()
    (root.rootfs / "folder").mkdir()
    with pytest.raises(ContainerError) as failure:
        root.enter(lambda: None, [PROC, mount])
    assert str(failure.value).startswith(f"mount {mount['destination']}: ")
    assert str(failure.value).endswith(message)
