"""Measures B12: what a shim and the node daemon do while nothing happens."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import devtools.containerd as runtimes
from scripts.bench.bed import NATIVE_IMAGE, Bed
from scripts.bench.goals import DAEMON, OURS, RUNC
from scripts.bench.measure import Result, Samples
from scripts.bench.memory import SLEEP, cpu_ns, parent, pods

_SETTLING = 15.0
"""Seconds until a daemon is at rest: ten after its last pod it ends the mounters, and then it looks for orphans."""


def wakeups(bed: Bed) -> list[Result]:
    """B12: how often the shims of pods that sleep wake up, and the daemon that serves as many, all at once."""
    with contextlib.ExitStack() as stack:
        shims = {}
        for name, runtime in {OURS: runtimes.WASMTIME, **bed.peers, RUNC: runtimes.RUNC}.items():
            pids = stack.enter_context(pods(bed, runtime, NATIVE_IMAGE, SLEEP, bed.scale.few))
            shims[name] = [parent(pid) for pid in pids]
        stack.enter_context(pods(bed, runtimes.SHARED, NATIVE_IMAGE, SLEEP, bed.scale.few))
        shims[DAEMON] = [bed.daemon]
        time.sleep(_SETTLING)
        before = {name: _sample(processes) for name, processes in shims.items()}
        time.sleep(bed.scale.idle_seconds)
        after = {name: _sample(processes) for name, processes in shims.items()}
    samples: Samples = {
        name: [float(then[0] - was[0]) for was, then in zip(before[name], after[name], strict=True)]
        for name in shims
    }
    used = ", ".join(
        f"{name} {sum(then[1] - was[1] for was, then in zip(before[name], after[name], strict=True)) / 1e6:.2f} ms"
        for name in shims
    )
    note = (
        f"Voluntary context switches of all their threads in {bed.scale.idle_seconds} seconds, {bed.scale.few} pods "
        f"each, the daemon's in shared mode. CPU time of all together meanwhile: {used}."
    )
    return [Result("B12", "wake-ups of an idle shim", "times", samples, bed.goals("B12", samples), note)]


def _sample(processes: list[int]) -> list[tuple[int, int]]:
    return [(_switches(pid), cpu_ns(pid)) for pid in processes]


def _switches(pid: int) -> int:
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        count += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return count
