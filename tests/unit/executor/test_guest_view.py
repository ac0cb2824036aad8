"""The mount table tells which mounts a guest's view replaces."""

from __future__ import annotations

from runwasi.executor.child.guest_view import _to_replace
from runwasi.linux.mounts import Mounted


def replaced(*lines: str) -> list[tuple[int, bool]]:
    """Return id and "uppermost" of what is replaced; a line is "id parent root point fstype"."""
    table = []
    for line in lines:
        number, parent, root, point, fstype = line.split()
        text = f"{number} {parent} 0:1 {root} {point} rw - {fstype} none rw"
        table.append(Mounted(text.encode()))
    return [(entry.id, uppermost) for entry, uppermost in _to_replace(table)]


def test_a_procfs_is_replaced_with_what_is_below_it() -> None:
    assert replaced(
        "1 0 / / ext4",
        "2 1 / /proc proc",
        "3 2 /null /proc/kcore devtmpfs",
        "4 2 /sys /proc/sys proc",
        "5 4 / /proc/sys/fs/binfmt_misc binfmt_misc",
        "6 1 / /sys sysfs",
    ) == [(2, True), (3, False), (4, False), (5, False)]


def test_the_upper_comes_before_the_lower_whatever_the_order_of_mounting() -> None:
    assert replaced("3 9 /null /proc/kcore devtmpfs", "9 1 / /proc proc", "1 0 / / ext4") == [
        (9, True),
        (3, False),
    ]


def test_of_a_stack_the_top_counts() -> None:
    lines = ("1 0 / / ext4", "2 1 / /proc proc", "3 2 /null /proc/keys devtmpfs", "4 2 / /proc proc")
    assert replaced(*lines) == [(4, True)]
    assert replaced(*lines, "5 4 / /proc tmpfs") == []


def test_a_hidden_mount_is_left_alone() -> None:
    assert replaced("1 0 / / ext4", "2 1 / /host/a/proc proc", "3 1 / /host tmpfs") == []
    assert replaced("1 0 / / ext4", "2 1 / /hosts/proc proc", "3 1 / /host tmpfs") == [(2, True)]


def test_parts_of_a_procfs_are_replaced_anywhere() -> None:
    lines = ("1 0 / / ext4", "2 1 /1/environ /file proc", "3 1 / /data tmpfs", "4 3 /77/fd /data/fd proc")
    assert replaced(*lines) == [(2, True), (4, True)]


def test_a_root_that_is_itself_a_procfs_is_replaced() -> None:
    assert replaced("7 3 / / proc", "8 7 /sys /sys proc") == [(7, True), (8, False)]


def test_the_table_tells_of_blanks_options_and_roots() -> None:
    line = rb"36 35 0:21 /a\040b /m\134n rw,relatime master:1 - proc proc ro,hidepid=2,subset=pid" + b"\n"
    entry = Mounted(line)
    assert (entry.id, entry.parent, entry.root, entry.point) == (36, 35, "/a b", "/m\\n")
    assert (entry.fstype, entry.readonly) == ("proc", True)
    assert entry.options == ["ro", "hidepid=2", "subset=pid"]
    assert not Mounted(b"1 0 0:1 / / rw - proc a\\040source rw\n").readonly
