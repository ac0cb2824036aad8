"""Files of /proc and cgroups, with the names in them chosen by a container: each reads as what it is.

The kernel writes one line for each thing, and escapes of a name what would end the line. Names may have any other
byte, also those at which Python thinks that a line ends.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runwasi.executor.usage import cgroup_files, usage_v2
from runwasi.linux import processes, resctrl
from runwasi.linux.cgroups import hierarchies, tree
from runwasi.linux.mounts import Mounted
from tests.fuzz.harness import Pieces, short

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = ()


def run(data: bytes) -> None:
    pieces = Pieces(data)
    what, name = pieces.number(4), pieces.short().replace(b"\0", b"") or b"x"
    if what == 0:
        _check_mounts(b"/" + name)
    elif what == 1:
        _check_cgroups(b"/" + name.replace(b"\n", b""))
    elif what == 2:
        _check_process(name[:15], pieces.number() + 1)
    else:
        _check_numbers(pieces)


def _check_mounts(path: bytes) -> None:
    escaped = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes((byte,)) for byte in path)
    line = b"31 23 0:28 %s %s rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n" % (escaped, escaped)
    mounted = Mounted(line)
    assert (os.fsencode(mounted.point), os.fsencode(mounted.root)) == (path, path)
    layout = hierarchies.parse_mountinfo(line.decode("utf-8", "surrogateescape"))
    (found,) = layout.hierarchies
    assert os.fsencode(found.mount_point) == path


def _check_cgroups(path: bytes) -> None:
    text = b"4:memory,pids:%s\n1:name=systemd:/a\n0::/\n" % path
    paths = hierarchies.parse_own_cgroups(text.decode("utf-8", "surrogateescape"))
    assert {key: os.fsencode(value) for key, value in paths.items()} == {
        "memory": path, "pids": path, "name=systemd": b"/a", "": b"/",
    }  # fmt: skip


def _check_process(comm: bytes, pid: int) -> None:
    fields = processes._fields_of(b"%d (%s) S 1 2 3\n" % (pid, comm))
    assert fields == ["S", "1", "2", "3"]
    escaped = comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    status = b"Name:\t%s\nUmask:\t0022\nTgid:\t%d\nPid:\t%d\n" % (escaped, pid, pid + 1)
    assert tree.owner_of(status.decode("utf-8", "surrogateescape")) == pid


def _check_numbers(pieces: Pieces) -> None:
    """Numbers are the kernel's own, so here only how many there are is of interest."""
    names = [f"n{pieces.number()}" for _ in range(pieces.number(8))]
    listing = "".join(f"{name} {pieces.number()}\n" for name in names)
    assert cgroup_files.counters(listing).keys() == set(names)
    rows = "".join(f"{name} hca_handle={pieces.number()} hca_object=max\n" for name in names)
    assert len(cgroup_files.rdma_entries(rows)) == len(names)
    low = pieces.number()
    high = low + pieces.number(64)
    assert cgroup_files.number_list(f"{low}-{high},{high + 2}\n") == (*range(low, high + 1), high + 2)
    pressure = "".join(f"{kind} avg10=0.00 avg60=1.50 avg300=0.00 total={low}\n" for kind in ("some", "full"))
    stalls = usage_v2.stalls(pressure)
    assert stalls is not None
    assert stalls.some is not None
    assert stalls.some.total == low
    resctrl._parse([f"L3:{low}=f;{high + 1}=ff"])


def seeds() -> Iterator[bytes]:
    yield b"\0" + short(b"sys/fs/cgroup")
    yield b"\0" + short(b"a b\\c\td\xff")
    yield b"\1" + short(b"docker/abc")
    yield b"\2" + short(b"a) (b") + b"\x07"
    yield b"\3" + short(b"") + bytes(range(40))
