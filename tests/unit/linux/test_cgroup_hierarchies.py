"""Where hierarchies are, read from the texts of /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from runwasi.linux.cgroups import tree
from runwasi.linux.cgroups.hierarchies import Hierarchy, clean, parse_mountinfo, parse_own_cgroups
from runwasi.linux.cgroups.systemd import slice_path

HYBRID = """\
23 1 259:1 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:30 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:12 - cgroup cgroup rw,memory
99 23 0:32 /docker/abc /srv/ct/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
98 23 0:44 / /opt/net\\040cls rw - cgroup net_cls rw,net_cls,release_agent=/bin/x
97 23 0:29 / /tmp/mount - cgroup-like nothing rw
"""
UNIFIED = """\
23 1 259:1 / / rw,relatime - ext4 /dev/vda rw
30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
44 23 0:45 / /mnt/extra rw - cgroup none rw,name=extra
"""


def test_a_hybrid_host_has_version_1_and_every_hierarchy_once() -> None:
    layout = parse_mountinfo(HYBRID)
    assert layout.version == 1
    assert {found.controllers: found.mount_point for found in layout.hierarchies} == {
        ("",): "/sys/fs/cgroup/unified",
        ("name=systemd",): "/sys/fs/cgroup/systemd",
        ("cpu", "cpuacct"): "/sys/fs/cgroup/cpu,cpuacct",
        ("memory",): "/sys/fs/cgroup/memory",
        ("net_cls",): "/opt/net cls",
    }


def test_a_unified_host_has_version_2_whatever_else_is_mounted_somewhere() -> None:
    layout = parse_mountinfo(UNIFIED)
    assert layout.version == 2
    assert [found.mount_point for found in layout.hierarchies] == ["/sys/fs/cgroup"]


def test_a_host_without_cgroups_is_told_so() -> None:
    with pytest.raises(FileNotFoundError, match="no cgroup hierarchy is mounted; to mend: mount -t cgroup2 "):
        parse_mountinfo("23 1 259:1 / / rw - ext4 /dev/vda rw\n")


def test_own_paths_are_by_controller() -> None:
    text = "4:memory:/user\n3:cpu,cpuacct:/a:b\n1:name=systemd:/init.scope\n0::/\n"
    assert parse_own_cgroups(text) == {
        "memory": "/user",
        "cpu": "/a:b",
        "cpuacct": "/a:b",
        "name=systemd": "/init.scope",
        "": "/",
    }


def test_paths_are_counted_from_what_is_mounted() -> None:
    whole, part = Hierarchy(("cpu",), "/cg", "/"), Hierarchy(("cpu",), "/cg", "/docker/abc")
    assert whole.visible("/docker/abc") == "/docker/abc"
    assert part.visible("/docker/abc") == "/"
    assert part.visible("/docker/abc/x") == "/x"
    assert part.directory("/") == "/cg"
    assert part.directory("/x") == "/cg/x"


@pytest.mark.parametrize("path", ["/docker/abcd", "/other", "/../.."])
def test_a_process_outside_what_is_mounted_has_no_path(path: str) -> None:
    with pytest.raises(FileNotFoundError, match="outside the mounted hierarchy"):
        Hierarchy(("cpu",), "/cg", "/docker/abc").visible(path)


@pytest.mark.parametrize(("path", "cleaned"), [("/a//b/./c/", "/a/b/c"), ("a/b", "a/b"), ("./a", "a")])
def test_paths_are_cleaned(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@pytest.mark.parametrize(
    ("name", "path"),
    [("-.slice", "/"), ("a.slice", "/a.slice"), ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice")],
)
def test_a_slice_is_below_those_its_name_begins_with(name: str, path: str) -> None:
    assert slice_path(name) == path


@pytest.mark.parametrize("name", ["", "a", ".slice", "a--b.slice", "-a.slice", "a/b.slice", "a.scope"])
def test_names_that_systemd_refuses_for_slices_are_refused(name: str) -> None:
    with pytest.raises(OSError, match="not the name of a slice"):
        slice_path(name)


# What str.splitlines takes for the end of a line, and neither the kernel nor we do.
CONTROLS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028"


def test_a_cgroups_name_cannot_pretend_to_be_another_line() -> None:
    name = f"/a{CONTROLS}0::/forged"
    assert parse_own_cgroups(f"4:memory:{name}\n0::{name}\n") == {"memory": name, "": name}


def test_a_mount_points_name_cannot_break_its_line() -> None:
    (found,) = parse_mountinfo(f"30 23 0:27 / /mnt/{CONTROLS}x rw - cgroup2 cgroup2 rw\n").hierarchies
    assert found.mount_point == f"/mnt/{CONTROLS}x"


def test_a_threads_name_cannot_pretend_that_another_process_owns_it() -> None:
    for control in CONTROLS:
        assert tree.owner_of(f"Name:\tx{control}Tgid:\t1\nUmask:\t0022\nTgid:\t77\nNgid:\t0\n") == 77


def test_a_file_with_any_bytes_is_read(tmp_path: Path) -> None:
    (tmp_path / "status").write_bytes(b"Name:\t\xff\xfe\r\nTgid:\t5\n")
    assert tree.owner_of(tree.read_file(str(tmp_path / "status"))) == 5
