"""Measures B6 to B8 and B16: the memory of an idle pod, of a wasm container in it, and of the node daemon.

These measures count a process's private pages, clean and dirty. A pod of shared mode has no process of its own, so
the growth of the daemon is divided by the pods. Pages that it shares with its forks (guests, and processes that work
for it) count once there, by each one's share (Pss_Anon; man 5 proc_pid_smaps); pages of files belong to the node.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import devtools.containerd as runtimes
from devtools.containerd import Containerd
from devtools.daemon import Daemon
from scripts.bench.bed import CLI_IMAGE, MODULE, NATIVE_IMAGE, WASM_IMAGE, Bed
from scripts.bench.goals import CLI, DAEMON, OURS, RUNC, SHARED
from scripts.bench.measure import Result, Samples

SLEEP = ("sleep", "1000")
_PRIVATE = ("Private_Clean", "Private_Dirty")
_SHARE = ("Pss_Anon",)
_DAEMONS = 5
_LOOKS, _LOOK_SECONDS = 20, 0.2


def idle_pods(bed: Bed) -> list[Result]:
    """B6: the shim of an idle native pod, in normal mode."""
    samples = {}
    for name, runtime in {OURS: runtimes.WASMTIME, **bed.peers, RUNC: runtimes.RUNC}.items():
        with pods(bed, runtime, NATIVE_IMAGE, SLEEP, bed.scale.few) as pids:
            samples[name] = [_mib(_PRIVATE, parent(pid)) for pid in pids]
    note = f"Private memory of the shim of each of {bed.scale.few} pods that sleep."
    title = "memory of an idle native pod"
    return [Result("B6", title, "MiB", samples, bed.goals("B6", samples), note)]


def shared_pods(bed: Bed) -> list[Result]:
    """B7: the same in shared mode, where the node daemon is the shim of many pods."""
    samples = {SHARED: [_growth(bed, NATIVE_IMAGE, SLEEP, bed.scale.many)]}
    for name, runtime in {**bed.peers, RUNC: runtimes.RUNC}.items():
        with pods(bed, runtime, NATIVE_IMAGE, SLEEP, bed.scale.few) as pids:
            samples[name] = [_mib(_PRIVATE, parent(pid)) for pid in pids]
    note = f"The growth of the node daemon that serves {bed.scale.many} pods, for each; the peers as in B6."
    title = "memory of an idle native pod in shared mode"
    return [Result("B7", title, "MiB", samples, bed.goals("B7", samples), note)]


def idle_wasm(bed: Bed) -> list[Result]:
    """B8: an idle wasm pod: its shim and its guest."""
    program = (MODULE, *SLEEP)
    samples: Samples = {SHARED: [_growth(bed, WASM_IMAGE, program, bed.scale.few)]}
    for name, runtime in {OURS: runtimes.WASMTIME, **bed.peers}.items():
        with pods(bed, runtime, WASM_IMAGE, program, bed.scale.few) as pids:
            samples[name] = [_with_parent(pid) for pid in pids]
    with pods(bed, runtimes.RUNC, CLI_IMAGE, ("/bin/wasmtime", "run", *program), bed.scale.few) as pids:
        samples[CLI] = [_with_parent(pid) for pid in pids]
    note = (
        "Private memory of shim and guest together; in shared mode the growth of daemon and guests, for each."
    )
    return [Result("B8", "memory of an idle wasm pod", "MiB", samples, bed.goals("B8", samples), note)]


def daemon_alone(bed: Bed) -> list[Result]:
    """B16: a node daemon that serves no pod yet."""
    private, resident = [], []
    for number in range(_DAEMONS):
        folder = bed.folder / f"daemon-{number}"
        folder.mkdir()
        daemon = Daemon(folder)
        try:
            private.append(_mib(_PRIVATE, daemon.pid))
            resident.append(_mib(("Rss",), daemon.pid))
        finally:
            daemon.stop()
    samples = {DAEMON: private, f"{DAEMON}, with what it shares": resident}
    note = "Private memory right after its start; the second line is what is resident, libraries of others included."
    return [
        Result(
            "B16", "memory of the node daemon without pods", "MiB", samples, bed.goals("B16", samples), note
        )
    ]


def _growth(bed: Bed, image: str, command: Sequence[str], count: int) -> float:
    """Return MiB by which the daemon grows with each of so many pods of shared mode."""
    with pods(bed, runtimes.SHARED, image, command, 1):
        pass  # what only the first pod needs stays
    before = _of_daemon(bed)
    with pods(bed, runtimes.SHARED, image, command, count) as pids:
        if any(parent(pid) != bed.daemon for pid in pids):
            raise RuntimeError("a pod of shared mode has a server of its own")
        return (_of_daemon(bed) - before) / count


def _of_daemon(bed: Bed) -> float:
    """Return MiB of the daemon and of all that it forked and that has executed nothing else, guests included."""
    return sum(_mib(_SHARE, pid) for pid in (bed.daemon, *_forks(bed.daemon)))


def _forks(pid: int) -> list[int]:
    """Return the pids of a process's children that run the same program; one that ends meanwhile is none."""
    found = []
    program = os.readlink(f"/proc/{pid}/exe")
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{child}/exe") == program:
                found.append(int(child))
    return found


def _with_parent(pid: int) -> float:
    return _mib(_PRIVATE, pid) + _mib(_PRIVATE, parent(pid))


@contextlib.contextmanager
def pods(bed: Bed, runtime: str, image: str, command: Sequence[str], count: int) -> Iterator[list[int]]:
    """Run so many containers, each in a pod of its own; yields the pids of their first processes, at rest."""
    with contextlib.ExitStack() as stack:
        pids = [_entered(stack, bed.containerd, runtime, image, bed.id(), command) for _ in range(count)]
        settle(pids)
        yield pids


def _entered(
    stack: contextlib.ExitStack,
    containerd: Containerd,
    runtime: str,
    image: str,
    container: str,
    command: Sequence[str],
) -> int:
    return stack.enter_context(containerd.task(runtime, image, container, *command))


def settle(pids: Sequence[int]) -> None:
    """Return when the processes and their shims have come to rest: nobody used any CPU while we looked."""
    everybody = sorted({*pids, *map(parent, pids)})
    seen = [cpu_ns(pid) for pid in everybody]
    for _ in range(_LOOKS):  # a shim that polls never rests
        time.sleep(_LOOK_SECONDS)
        now = [cpu_ns(pid) for pid in everybody]
        if now == seen:
            return
        seen = now


def parent(pid: int) -> int:
    """Return the pid of a process's parent, which is the shim of a container's first process."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def _mib(members: tuple[str, ...], pid: int) -> float:
    """Return the sum of some members of a process's smaps_rollup."""
    return rollup_kib(Path(f"/proc/{pid}/smaps_rollup").read_text(), members) / 1024


def rollup_kib(text: str, members: tuple[str, ...]) -> int:
    """Return the sum of some members of a text in the form of /proc/PID/smaps_rollup."""
    fields = [line.split() for line in text.splitlines()[1:]]
    return sum(int(words[1]) for words in fields if words[0].removesuffix(":") in members)


def cpu_ns(pid: int) -> int:
    """Return CPU time of all threads that run, from the scheduler's own count in ns (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)
