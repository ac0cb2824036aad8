"""Prepares the machine for a cluster's node, and removes what kubelet leaves on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from devtools.folders import mounts_below

# kubelet and the network's plugin set these and put none of them back.
_SETTINGS = (
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes", "net/ipv4/ip_forward",
)  # fmt: skip
# kubelet writes to these whatever its root is.
_FIXED_FOLDERS = (
    Path("/var/lib/kubelet/device-plugins"),
    Path("/var/lib/kubelet"),
    Path("/var/log/containers"),
)
_HIERARCHIES = Path("/sys/fs/cgroup")
_LOCK = Path("/run/lock/runwasi-kubernetes-node")


def become_the_only_node() -> IO[str]:
    """Wait until no other cluster of these tests is on this machine, and keep others away until the file is closed.

    Two kubelets would share folders, sockets of device plugins and the kernel's settings, and put back each other's.
    """
    lock = _LOCK.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another Kubernetes on this machine", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


@contextlib.contextmanager
def prepared_node(folder: Path, name: str) -> Iterator[str]:
    """Make a bridge and a cgroup of that name; gives the bridge's address. All is as it was in the end."""
    address = f"10.{200 + os.getpid() // 256 % 50}.{os.getpid() % 256}.1"
    with _settings_put_back(), _folders_removed(folder), _cgroup(name), _bridge(name, address):
        yield address


@contextlib.contextmanager
def _settings_put_back() -> Iterator[None]:
    before = {path: path.read_text() for path in (Path("/proc/sys", name) for name in _SETTINGS)}
    try:
        yield
    finally:
        for path, value in before.items():
            if path.read_text() != value:
                path.write_text(value)


@contextlib.contextmanager
def _folders_removed(folder: Path) -> Iterator[None]:
    absent = [path for path in _FIXED_FOLDERS if not path.exists()]
    try:
        yield
    finally:
        for point in mounts_below(folder):  # volumes of pods, and kubelet's own folder
            subprocess.run(["umount", "--lazy", point], check=True)
        for fixed in _FIXED_FOLDERS:
            _remove_what_is_ours(fixed, folder)
            if fixed in absent and fixed.exists() and not any(fixed.iterdir()):
                fixed.rmdir()


def _remove_what_is_ours(fixed: Path, folder: Path) -> None:
    """Remove links to the folder's logs, and the sockets and notes of kubelet's device manager."""
    if not fixed.exists():
        return
    for entry in fixed.iterdir():
        points_there = entry.is_symlink() and str(folder) in os.readlink(entry)
        if points_there or entry.name in {"kubelet.sock", "DEPRECATION", "kubelet_internal_checkpoint"}:
            entry.unlink()


@contextlib.contextmanager
def _bridge(name: str, address: str) -> Iterator[None]:
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", f"{address}/24", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


@contextlib.contextmanager
def _cgroup(name: str) -> Iterator[None]:
    """A cgroup in every hierarchy, as kubelet expects of the root that it is given."""
    made = [hierarchy / name for hierarchy in _hierarchies()]
    for cgroup in made:
        cgroup.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):  # of version 1: empty at first, and so without a CPU
            if (cgroup / file).exists() and not (cgroup / "cgroup.controllers").exists():
                (cgroup / file).write_text((cgroup.parent / file).read_text())
    try:
        yield
    finally:
        for cgroup in made:
            for below, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(below)


def _hierarchies() -> list[Path]:
    if (_HIERARCHIES / "cgroup.controllers").exists():
        return [_HIERARCHIES]
    return [entry for entry in _HIERARCHIES.iterdir() if entry.is_dir() and not entry.is_symlink()]
