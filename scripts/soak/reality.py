"""Compares what there is on the machine with what the model says."""

from __future__ import annotations

import json
import os
from pathlib import Path

from devtools import leaks
from devtools.waiting import settled
from scripts.soak.bed import Bed
from scripts.soak.model import Model

_SETTLE_SECONDS = 10
_CGROUPS = Path("/sys/fs/cgroup")
_GRACE = 2048  # KiB of the daemon's memory that are noise
_MEMBERS = ("Private_Clean", "Private_Dirty")


class Reality:
    """The machine: how it was at the beginning, and how it is now."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._before = leaks.take(bed.session)
        self._quiet: dict[int, tuple[int, int]] = {}

    def differences(self, model: Model) -> list[str]:
        """Compare the machine with the model; return a line for each difference that is left after ten seconds."""
        # what ends is on its way
        found = settled(lambda: self._compare(model), lambda found: not found, seconds=_SETTLE_SECONDS)
        return found or self._daemon(model)

    def _compare(self, model: Model) -> list[str]:
        now = leaks.take(self._bed.session)
        return [
            *_different("statuses", self._expected_statuses(model), self._statuses()),
            *_different("containers of containerd", _ids(model, containerd=True), self._declared()),
            *_different("state of shims", _ids(model, containerd=True), _names(self._bed.shim_state)),
            *_different("state of the command line", _ids(model, containerd=False), _names(self._bed.root)),
            *_different("mounts", set(self._before.mounts), set(now.mounts)),
            *self._cgroups(model, now),
            *self._processes(model, now),
            *model.disagreements(self._bed.events()),
        ]

    def _expected_statuses(self, model: Model) -> set[str]:
        return {f"{life.id} {life.status}" for life in model.lives.values()}

    def _statuses(self) -> set[str]:
        lines = [line.split() for line in self._bed.ctr("task", "ls").splitlines()[1:]]
        told = {f"{words[0]} {words[2].lower()}" for words in lines}
        listed = json.loads(self._bed.command("list", "--format", "json")) or []
        return told | {f"{entry['id']} {entry['status']}" for entry in listed}

    def _declared(self) -> set[str]:
        return set(self._bed.ctr("container", "ls", "-q").split())

    def _cgroups(self, model: Model, now: leaks.Snapshot) -> list[str]:
        lines = [
            f"left behind: cgroup {path}"
            for path in sorted(now.cgroups)
            if Path(path).name not in model.lives
        ]
        for life in model.lives.values():
            limit = _CGROUPS / "pids" / self._bed.session / life.id / "pids.max"
            limit = limit if limit.parent.is_dir() else _CGROUPS / self._bed.session / life.id / "pids.max"
            if life.pids_limit and limit.read_text().strip() != str(life.pids_limit):
                lines.append(f"{limit}: {limit.read_text().strip()} and not {life.pids_limit}")
        return lines

    def _processes(self, model: Model, now: leaks.Snapshot) -> list[str]:
        """Every process belongs to a container that lives, or serves one, or is one of the bed's."""
        homes = {line: home for line in now.processes if (home := _container_of(line)) is not None}
        inhabited = set(homes.values())
        lines = [
            f"container {life.id} is {life.status} but has {'no' if life.lives else 'a'} process"
            for life in model.lives.values()
            if life.lives != (life.id in inhabited)
        ]
        ours = self._servers(model) | {
            self._bed.containerd.pid,
            self._bed.daemon.pid,
            self._bed.listener_pid,
        }
        for line, home in homes.items():
            if home not in model.lives and int(line.split()[0]) not in ours:
                lines.append(f"left behind: process {line}")
        return lines

    def _servers(self, model: Model) -> set[int]:
        pods = {life.pod: life.id for life in model.of("normal")}
        return {self._bed.server_of(container) for container in pods.values()}

    def _daemon(self, model: Model) -> list[str]:
        """Without containers, the daemon has the descriptors, and about the memory, that it had before."""
        self._bed.drain()
        if model.lives:  # what a server was forked from is shared with it, and counts as nobody's
            return []
        pid = self._bed.daemon.pid
        memory, descriptors = reading(pid)
        first = self._quiet.setdefault(pid, (memory, descriptors))
        lines = []
        if descriptors > first[1]:
            targets = [
                os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd") if entry.is_symlink()
            ]
            lines.append(f"the daemon has {descriptors} descriptors and had {first[1]}: {targets}")
        if memory > first[0] + _GRACE:
            lines.append(f"the daemon has {memory} KiB and had {first[0]}")
        return lines


def reading(pid: int) -> tuple[int, int]:
    """Return a process's private memory in KiB, and how many descriptors it has."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    memory = sum(int(words[1]) for words in lines if words[0].removesuffix(":") in _MEMBERS)
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


def _different(what: str, expected: set[str], found: set[str]) -> list[str]:
    missing = [f"missing in {what}: {thing}" for thing in sorted(expected - found)]
    return missing + [f"unexpected in {what}: {thing}" for thing in sorted(found - expected)]


def _ids(model: Model, *, containerd: bool) -> set[str]:
    return {life.id for life in model.lives.values() if life.in_containerd == containerd}


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")}


def _container_of(line: str) -> str | None:
    """Return the container in whose cgroup a process is, by its line: "" for none, None once it ended."""
    try:
        text = Path(f"/proc/{line.split(maxsplit=1)[0]}/cgroup").read_text()
    except OSError:
        return None
    groups = [path.rpartition("/") for path in text.split() if ":pids:" in path or path.startswith("0::")]
    return next((name for folder, _, name in groups if folder.partition("/")[2]), "")
