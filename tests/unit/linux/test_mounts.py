"""The mount table as text."""

from __future__ import annotations

from runwasi.linux import mounts


def test_escapes_of_the_mount_table_are_undone() -> None:
    assert mounts._unescape(rb"/a\040b\134c\011\012d") == b"/a b\\c\t\nd"
    assert mounts._unescape(b"/plain") == b"/plain"


def test_a_subtree_comes_deepest_and_latest_first() -> None:
    below = mounts.mounted_below("/proc")
    assert "/proc" in below
    assert all(point == "/proc" or point.startswith("/proc/") for point in below)
    assert below.index("/proc") == len(below) - 1 - below[::-1].index("/proc")
    assert set(mounts.mounted_below("/")) == set(mounts.mount_points())
