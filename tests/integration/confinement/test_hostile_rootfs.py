"""An image or another container cannot misuse the paths of a root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.linux.beneath import make_dirs, make_file
from runwasi.linux.mount_fds import move_mount, new_mount
from runwasi.linux.namespaces import CLONE_NEWNS
from runwasi.linux.terminal import open_pty
from tests.support.exchange import exchanging
from tests.support.in_namespaces import run_in
from tests.support.root_steps import DEV, PROC, SYSFS, Root, mount_table

pytestmark = pytest.mark.cgroup_v2


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder of the host that nothing may reach."""
    path = folder / "outside"
    path.mkdir()
    return path


@pytest.mark.parametrize("link", ["{outside}", "../../../../../..{outside}"])
def test_links_of_the_image_never_lead_out_of_the_root(root: Root, outside: Path, link: str) -> None:
    (root.rootfs / "link").symlink_to(link.format(outside=outside))
    tmpfs = {"destination": "/link/below", "type": "tmpfs", "source": "marker"}
    points = root.enter(
        lambda: [line.point for line in mount_table().values() if line.source == "marker"], [PROC, tmpfs]
    )
    assert points == [f"{outside}/below"]  # the same path, but in the root
    assert os.listdir(outside) == []


def test_a_file_is_not_made_through_a_link_out_of_the_root(root: Root, outside: Path) -> None:
    (root.rootfs / "etc").mkdir()
    (root.rootfs / "etc/hosts").symlink_to(outside / "hosts")
    bind = {"destination": "/etc/hosts", "source": "/etc/passwd", "options": ["bind", "ro"]}
    assert "root" in root.enter(lambda: Path("/etc/hosts").read_text(), [PROC, bind])
    assert os.listdir(outside) == []


@pytest.mark.parametrize("place", ["proc", "sys"])
@pytest.mark.parametrize("parent", [False, True])
def test_proc_and_sysfs_are_mounted_on_real_directories_only(
    root: Root, outside: Path, place: str, parent: bool
) -> None:
    # CVE-2019-16884: with /proc elsewhere, what is written to /proc/self/attr confines nothing.
    (root.rootfs / "elsewhere/proc").mkdir(parents=True)
    (root.rootfs / "elsewhere/sys").mkdir(parents=True)
    (root.rootfs / "link").symlink_to("elsewhere")
    (root.rootfs / place).symlink_to("elsewhere/proc")
    destination = f"/link/{place}" if parent else f"/{place}"
    mounts = [{**(PROC if place == "proc" else SYSFS), "destination": destination}]
    with pytest.raises(ContainerError) as failure:
        root.enter(lambda: None, mounts)
    assert str(failure.value) == (
        f"mount {destination}: destination is a symbolic link or below one: it must be mounted on ordinary directory"
        " ($.mounts[0].destination)"
    )


def test_no_volume_covers_a_file_of_procfs_through_a_link(root: Root, outside: Path) -> None:
    # CVE-2019-19921
    (root.rootfs / "data").symlink_to("/proc/self/attr")
    bind = {"destination": "/data", "source": str(outside), "options": ["bind"]}
    with pytest.raises(ContainerError, match=r"inside a proc filesystem \(\$\.mounts\[1\]\.destination\)"):
        root.enter(lambda: None, [PROC, bind])


def test_informational_files_of_procfs_may_be_replaced(root: Root, outside: Path) -> None:
    (outside / "uptime").write_text("1.00 1.00\n")
    bind = {"destination": "/proc/uptime", "source": str(outside / "uptime"), "options": ["bind"]}
    assert root.enter(lambda: Path("/proc/uptime").read_text(), [PROC, bind]) == "1.00 1.00\n"


def test_only_a_procfs_is_bound_to_proc(root: Root, outside: Path) -> None:
    bind = {"destination": "/proc", "source": str(outside), "options": ["bind"]}
    with pytest.raises(ContainerError, match=r"only a proc filesystem .*\$\.mounts\[0\]\.destination"):
        root.enter(lambda: None, [bind])


def test_a_directory_swapped_for_a_link_meanwhile_gains_nothing(root: Root, outside: Path) -> None:
    # CVE-2021-30465: another container that shares the volume exchanges a directory with a link.
    volume = root.rootfs / "volume"
    (volume / "place").mkdir(parents=True)
    (volume / "link").symlink_to(outside)

    def race() -> tuple[int, list[str]]:
        fd = os.open(root.rootfs, os.O_PATH)
        mounted = 0
        with exchanging(volume / "place", volume / "link"):
            for _ in range(400):
                try:
                    target = make_dirs(fd, "/volume/place/below")
                except OSError:
                    continue
                tree = new_mount("tmpfs", "marker")
                move_mount(tree, target)
                mounted += 1
                os.close(tree)
                os.close(target)
        points = [line.point for line in mount_table().values() if line.source == "marker"]
        return mounted, [point for point in points if not point.startswith(f"{root.rootfs}/")]

    mounted, escaped = run_in(CLONE_NEWNS, race, private=True)
    assert mounted > 0
    assert escaped == []
    assert os.listdir(outside) == []


def test_a_file_made_while_its_parent_is_swapped_stays_inside(root: Root, outside: Path) -> None:
    volume = root.rootfs / "volume"
    (volume / "place").mkdir(parents=True)
    (volume / "link").symlink_to(outside)

    def race() -> None:
        fd = os.open(root.rootfs, os.O_PATH)
        with exchanging(volume / "place", volume / "link"):
            for number in range(400):
                try:
                    os.close(make_file(fd, f"/volume/place/file{number}"))
                except OSError:
                    continue

    run_in(0, race)
    assert os.listdir(outside) == []


MASKS = {"maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware", "/does/not/exist"]}


def test_masked_files_are_empty_and_masked_directories_too(root: Root) -> None:
    def look() -> tuple[bytes, list[str], str, int]:
        try:
            Path("/sys/firmware/new").touch()
        except OSError as error:
            refused = os.strerror(error.errno or 0)
        number = os.stat("/proc/keys").st_rdev
        return Path("/proc/keys").read_bytes(), os.listdir("/sys/firmware"), refused, number

    keys, firmware, refused, number = root.enter(look, [PROC, DEV, SYSFS], MASKS)
    assert keys == b""
    assert number == os.makedev(1, 3)
    assert firmware == []
    assert refused == "Read-only file system"


@pytest.mark.parametrize("what", ["link", "file", "device"])
def test_masking_with_something_else_in_place_of_dev_null_is_refused(root: Root, what: str) -> None:
    # CVE-2025-31133: /dev/null is replaced between its making and its use.
    def replace() -> None:
        null = root.rootfs / "dev/null"
        null.unlink()
        if what == "link":
            null.symlink_to("/proc/sysrq-trigger")
        elif what == "file":
            null.write_text("")
        else:
            os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))

    with pytest.raises(ContainerError, match=r"not the null device \(\$\.linux\.maskedPaths\[0\]\)"):
        root.enter(lambda: None, [PROC, DEV], {"maskedPaths": ["/proc/version"]}, before=replace)


def test_a_masked_path_that_is_a_link_is_masked_inside_the_root(root: Root, outside: Path) -> None:
    (outside / "secret").write_text("the host's")
    (root.rootfs / "link").symlink_to(outside / "secret")
    root.enter(lambda: None, [PROC, DEV], {"maskedPaths": ["/link"]})
    assert (outside / "secret").read_text() == "the host's"


def test_read_only_paths_cannot_be_written(root: Root) -> None:
    def look() -> list[str]:
        answers = []
        for path in ("/proc/sys/kernel/hostname", "/proc/irq/default_smp_affinity"):
            try:
                os.close(os.open(path, os.O_WRONLY))
                answers.append("open")
            except OSError as error:
                answers.append(os.strerror(error.errno or 0))
        return answers

    linux = {"readonlyPaths": ["/proc/sys", "/proc/irq/default_smp_affinity", "/proc/nothing"]}
    assert root.enter(look, [PROC], linux) == ["Read-only file system"] * 2


def test_a_fake_ptmx_makes_no_terminal(root: Root) -> None:
    # CVE-2025-52565: the image puts a device of its choice where the ptmx is expected.
    (root.rootfs / "dev/pts").mkdir(parents=True)
    os.mknod(root.rootfs / "dev/pts/ptmx", stat.S_IFCHR | 0o666, os.makedev(1, 5))

    def look() -> None:
        open_pty(os.open("/", os.O_PATH))

    with pytest.raises(OSError, match="not the ptmx of a devpts"):
        root.enter(look, [PROC])


def test_a_ptmx_of_the_host_is_no_reason_for_a_link_to_it(root: Root) -> None:
    (root.rootfs / "dev").mkdir()
    (root.rootfs / "dev/pts").symlink_to("/dev/pts")
    root.enter(lambda: None, [PROC])
    assert not (root.rootfs / "dev/ptmx").is_symlink()
