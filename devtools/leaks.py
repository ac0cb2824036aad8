"""Finds what a test or a session left on the machine: processes, mounts, cgroups, namespaces, folders, descriptors.

Other work on the same machine changes all of these too. Things of this session have its
name in their environment, path or cgroup; with RUNWASI_TESTS_ALONE set, everything new counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from devtools.places import SESSION_VARIABLE
from devtools.processes import stat_of
from devtools.waiting import settled

_ALONE = bool(os.environ.get("RUNWASI_TESTS_ALONE"))
_SETTLE_SECONDS = 5.0
_CGROUPS = Path("/sys/fs/cgroup")
_FOLDERS = (Path("/run/runwasi"), Path("/run/containerd/runc"), Path("/run/containerd/s"), Path("/run/runc"))
_NETWORK_NAMESPACES = (Path("/run/netns"), Path("/var/run/netns"))


class Snapshot(NamedTuple):
    """A picture of the machine: each thing as the text that names it in a failure."""

    processes: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    namespaces: frozenset[str]
    folders: frozenset[str]
    descriptors: frozenset[str]


def take(session: str) -> Snapshot:
    """Look at the machine now."""
    return Snapshot(
        processes=frozenset(_processes(session)),
        mounts=frozenset(_ours(session, _mounts())),
        cgroups=frozenset(_ours(session, _cgroups())),
        namespaces=frozenset(_ours(session, _entries(_NETWORK_NAMESPACES))),
        folders=frozenset(_ours(session, _entries(_FOLDERS))),
        descriptors=frozenset(_descriptors()),
    )


def since(before: Snapshot, session: str, *, but: tuple[str, ...] = ()) -> list[str]:
    """Return a line for each thing that is new since before, and still there after a moment."""

    def leaked() -> list[str]:
        return [
            f"{kind}: {thing}"
            for kind, new, old in zip(Snapshot._fields, take(session), before, strict=True)
            for thing in sorted(new - old)
            if not any(part in thing for part in but)
        ]

    # a shim that was told to go is still on its way
    return settled(leaked, lambda found: not found, seconds=_SETTLE_SECONDS)


def pids(leaked: list[str]) -> list[int]:
    """The processes among the leaks."""
    return [int(line.split()[1]) for line in leaked if line.startswith("processes: ")]


def _ours(session: str, things: Iterator[str]) -> Iterator[str]:
    """Return what belongs to this session, except its containerd namespace's own folders, which stay under runc."""
    return (thing for thing in things if _ALONE or session in thing if not thing.endswith(f"/{session}"))


def _processes(session: str) -> Iterator[str]:
    marker = f"{SESSION_VARIABLE}={session}".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker in _read(entry.path, "environ").split(b"\0") or session.encode() in _read(
                entry.path, "cgroup"
            ):
                command = _read(entry.path, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
                stat = stat_of(entry.name)
                yield f"{entry.name} {command or '(' + stat[0] + ')'} started at {stat[19]}"
        except (FileNotFoundError, ProcessLookupError):
            continue


def _read(folder: str, name: str) -> bytes:
    try:
        with open(f"{folder}/{name}", "rb") as file:
            return file.read()
    except PermissionError:  # environ of a kernel thread or of a process that is going
        return b""


def _mounts() -> Iterator[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            yield f"{fields[4]} ({' '.join(fields[fields.index('-') + 1 :][:2])})"


def _cgroups() -> Iterator[str]:
    for folder, folders, _ in os.walk(_CGROUPS, followlinks=False):
        for name in folders:
            yield f"{folder}/{name}"


def _entries(folders: tuple[Path, ...]) -> Iterator[str]:
    for folder in folders:
        if folder.is_dir():
            yield from (entry.path for entry in os.scandir(folder))
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    yield from (inner.path for inner in os.scandir(entry.path))


def _descriptors() -> Iterator[str]:
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:  # the one that reads this folder
            continue
        if not target.startswith("/proc/"):
            yield f"{entry.name} -> {target}"
