"""The container's root: what is mounted, how it is entered, and what of the host is left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runwasi.executor.child import enter_root
from runwasi.executor.errors import ContainerError
from runwasi.linux.mounts import MS_BIND, MS_SHARED, mount
from runwasi.linux.namespaces import CLONE_NEWNS
from tests.support.in_namespaces import run_in
from tests.support.root_steps import DEV, DEVPTS, PROC, SYSFS, Json, Root, mount_table

pytestmark = pytest.mark.cgroup_v2


def test_the_usual_filesystems_have_their_types_and_options(root: Root) -> None:
    shm = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nodev", "mode=1777"]}
    mqueue = {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["noexec"]}
    table = root.enter(mount_table, [PROC, DEV, DEVPTS, shm, mqueue, SYSFS])
    assert {point: line.fstype for point, line in table.items() if point != "/"} == {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
    }
    assert table["/sys"].options == {"ro", "nosuid", "noexec", "relatime"}
    assert table["/dev"].options == {"rw", "nosuid", "relatime"}
    assert table["/dev"].super_options >= {"size=64k", "mode=755"}
    assert table["/dev/pts"].super_options >= {"gid=5", "mode=620", "ptmxmode=666"}
    assert table["/dev/shm"].options == {"rw", "nodev", "relatime"}


@pytest.mark.parametrize("no_pivot", [False, True])
def test_nothing_of_the_host_is_left_in_sight(root: Root, no_pivot: bool) -> None:
    root.no_pivot = no_pivot

    def look() -> tuple[list[str], list[str], str]:
        return sorted(os.listdir("/")), sorted(mount_table()), os.getcwd()

    names, points, cwd = root.enter(look, [PROC])
    assert names == ["dev", "proc"]
    assert points == ["/", "/proc"]
    assert cwd == "/"


def test_a_moved_root_leaves_no_kernel_filesystem_of_the_host_below(root: Root) -> None:
    root.no_pivot = True

    def look() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if " - proc " in line or " - sysfs " in line]

    assert len(root.enter(look, [PROC])) == 1


def test_the_root_is_read_only_when_asked(root: Root) -> None:
    def look() -> None:
        Path("/proc/self/mountinfo").read_text()
        Path("/new").write_text("")

    with pytest.raises(OSError, match="Read-only file system"):
        root.enter(look, [PROC], readonly=True)


def test_without_a_mount_namespace_the_hosts_mounts_are_not_changed(root: Root) -> None:
    root.namespaces.remove("mount")
    with pytest.raises(ContainerError, match=r"mount namespace is needed \(\$\.linux\.maskedPaths\)"):
        root.enter(lambda: None, linux={"maskedPaths": ["/proc/kcore"]})
    (root.rootfs / "here").touch()
    assert root.enter(lambda: sorted(os.listdir("/"))) == ["dev", "here"]


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        (None, set()),
        ("private", set()),
        ("slave", set()),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("unbindable", {"unbindable"}),
    ],
)
def test_the_root_has_the_propagation_asked(root: Root, asked: str | None, seen: set[str]) -> None:
    linux = {"rootfsPropagation": asked} if asked else {}

    def in_a_private_host() -> set[str]:
        return root.enter(lambda: mount_table()["/"].propagation, [PROC], linux)

    assert run_in(CLONE_NEWNS, in_a_private_host, private=True) == seen


def _shared_volume(path: Path) -> None:
    """Make path a shared mount of its own, as a host has them."""
    mount(str(path), str(path), None, MS_BIND)
    mount(None, str(path), None, MS_SHARED)


def _mounted(directory: Path) -> bool:
    return str(directory) in mount_table()


@pytest.mark.parametrize(("option", "reaches"), [("rshared", True), ("rslave", False), ("rprivate", False)])
def test_a_mount_in_a_volume_reaches_the_host_only_if_shared(
    root: Root, folder: Path, option: str, reaches: bool
) -> None:
    volume = folder / "volume"
    (volume / "sub").mkdir(parents=True)
    bind = {"destination": "/volume", "source": str(volume), "options": ["rbind", option]}

    def in_the_container() -> None:
        mount("tmpfs", "/volume/sub", "tmpfs")

    def on_the_host() -> bool:
        _shared_volume(volume)
        root.enter(in_the_container, [bind], {"rootfsPropagation": "rshared"})
        return _mounted(volume / "sub")

    assert run_in(CLONE_NEWNS, on_the_host, private=True) is reaches


def test_a_volume_with_no_word_on_propagation_does_not_reach_the_host(root: Root, folder: Path) -> None:
    volume = folder / "volume"
    (volume / "sub").mkdir(parents=True)
    mounts: list[Json] = [
        {"destination": "/volume", "source": str(volume), "options": ["rbind"]},
        {"destination": "/volume/sub", "type": "tmpfs", "source": "tmpfs"},
    ]

    def on_the_host() -> bool:
        _shared_volume(volume)
        root.enter(lambda: None, mounts, {"rootfsPropagation": "rshared"})
        return _mounted(volume / "sub")

    assert run_in(CLONE_NEWNS, on_the_host, private=True) is False


def test_mounts_into_a_shared_rootfs_do_not_reach_the_host(root: Root) -> None:
    def on_the_host() -> bool:
        _shared_volume(root.rootfs)
        root.enter(lambda: None, [PROC, DEV], {"rootfsPropagation": "shared"})
        return any(point.startswith(f"{root.rootfs}/") for point in mount_table())

    assert run_in(CLONE_NEWNS, on_the_host, private=True) is False


def test_hooks_before_the_pivot_find_the_mounts_at_the_rootfs_path(root: Root) -> None:
    def before() -> None:
        assert (root.rootfs / "proc/self").exists()

    root.enter(lambda: None, [PROC], before=before)


def test_mounts_below_the_rootfs_come_along(root: Root) -> None:
    (root.rootfs / "volume").mkdir()

    def on_the_host() -> str:
        mount("tmpfs", str(root.rootfs / "volume"), "tmpfs")
        (root.rootfs / "volume/file").write_text("kept")
        return root.enter(lambda: Path("/volume/file").read_text())

    assert run_in(CLONE_NEWNS, on_the_host, private=True) == "kept"


def test_a_user_namespace_whose_root_cannot_reach_the_rootfs_still_gets_it(root: Root) -> None:
    root.namespaces.append("user")
    os.chown(root.rootfs, 100000, 100000)
    root.bundle.chmod(0o700)
    secret = root.bundle / "volume"
    secret.mkdir()
    (secret / "file").write_text("seen")
    bind = {"destination": "/volume", "source": "volume", "options": ["bind", "ro"]}
    assert root.enter(lambda: Path("/volume/file").read_text(), [PROC, bind]) == "seen"


def test_a_user_namespace_without_network_namespace_sees_the_hosts_sysfs(root: Root) -> None:
    root.namespaces = ["mount", "pid", "user"]
    os.chown(root.rootfs, 100000, 100000)
    table = root.enter(mount_table, [PROC, SYSFS])
    assert table["/sys"].fstype == "sysfs"
    assert "ro" in table["/sys"].options


def test_made_directories_do_not_depend_on_the_umask(root: Root) -> None:
    umask = os.umask(0o077)
    try:
        mode = root.enter(
            lambda: os.stat("/made/below").st_mode, [{**PROC, "destination": "/made/below/proc"}]
        )
    finally:
        os.umask(umask)
    assert stat.S_IMODE(mode) == 0o755


def test_a_mount_label_needs_selinux(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enter_root, "selinux_enabled", lambda _: False)
    with pytest.raises(ContainerError, match=r"SELinux is not enabled .*\$\.linux\.mountLabel"):
        root.enter(lambda: None, linux={"mountLabel": "system_u:object_r:container_file_t:s0"})
