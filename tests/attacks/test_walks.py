"""A hostile module walks all that is mounted in its container, and what opens for it is on a list.

Whatever is new on the list, because of a kernel, a mount or a change of ours, fails here, and has to be judged.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools.engines import EngineHost
from tests.attacks.conftest import GUESTS
from tests.integration.conftest import BundleMaker
from tests.support.wasm import compile_c

WRITABLE = re.compile(
    r"/dev/(null|zero|full|random|urandom|tty|ptmx|pts/ptmx|stdin|stdout|stderr)"
    r"|/proc/(keys|kcore|timer_list|latency_stats|sched_debug)"  # masked by /dev/null
    r"|/proc/pressure/(cpu|io|irq|memory)"  # for triggers, which the kernel bounds for users without privileges
)
"""The paths that open for writing: none of the host."""

_PROCFS = """
    acpi asound bootconfig buddyinfo bus cgroups cmdline config.gz consoles cpuinfo crypto devices diskstats dma
    driver dynamic_debug execdomains fb filesystems fs interrupts iomem ioports irq kallsyms kcore key-users keys
    kpagecgroup kpagecount kpageflags latency_stats loadavg locks mdstat meminfo misc modules mpt mtrr pagetypeinfo
    partitions pressure sched_debug schedstat scsi slabinfo softirqs stat swaps sys sysvipc timer_list tty uptime
    version version_signature vmallocinfo vmstat zoneinfo
"""
PROCFS = frozenset(_PROCFS.split())
"""The files in /proc about the machine, none about a process."""

DEVICES = re.compile(
    r"/dev(/(null|zero|full|random|urandom|tty|ptmx|pts(/ptmx)?|shm|mqueue|std(in|out|err)))?"
)

HEAVY = ("/sys/devices", "/sys/kernel", "/sys/bus", "/sys/module")
"""The large folders of sysfs: one engine walks them."""


@pytest.fixture(scope="session")
def walker(session_folder: Path) -> bytes:
    """The hostile module."""
    return compile_c([GUESTS / "walker.c"], session_folder / "walker.wasm").read_bytes()


def test_a_guest_opens_only_listed_paths(
    engine: EngineHost, walker: bytes, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    heavy = [] if engine.name == "wasmtime" else [word for path in HEAVY for word in ("-x", path)]
    made = bundle(["/app.wasm", *heavy, "/proc", "/sys", "/dev"], files={"/app.wasm": walker}, busybox=False)
    root = ("--root", str(folder / "root"))
    done = engine.runwasi(*root, "run", "--engine", engine.name, "--bundle", str(made.path), container_id)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert int(last.removeprefix("tried ")) > 500
    print(engine.name, last, f"{len(lines)} opened")
    opened = [(how, path) for how, _, path in (line.partition(" ") for line in lines)]
    assert [path for how, path in opened if how != "read" and not WRITABLE.fullmatch(path)] == []
    assert {path.split("/")[2] for _, path in opened if path.startswith("/proc/")} <= PROCFS
    assert [path for _, path in opened if path.startswith("/dev") and not DEVICES.fullmatch(path)] == []
