"""B6 to B8 and B12: what an idle pod, and an idle wasm container in it, cost while nothing happens."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from devtools.containerd import RUNC, SHARED, WASMTIME
from devtools.places import WASI_DEMO_APP
from scripts.bench.bed import MODULE, NATIVE_IMAGE, WASM_IMAGE, Bed, wasmtime_cli
from scripts.bench.measure import Goal, Result

_FEW, _MANY = 8, 100
_IDLE_SECONDS = 20
_SLEEP = ("sleep", "1000")


def idle_pods(bed: Bed, _runs: int) -> Result:
    """B6: the shim of an idle pod."""
    samples = {}
    for name, runtime in (("runwasi's shim", WASMTIME), ("runc's shim", RUNC)):
        with _pods(bed, runtime, NATIVE_IMAGE, _SLEEP, _FEW) as pids:
            samples[name] = [_private_mib(_parent(pid)) for pid in pids]
    goal = Goal("runwasi's shim", "runc's shim", "<=", 1.5)
    note = f"Private memory, clean and dirty, of the shim of each of {_FEW} pods that sleep."
    return Result("B6", "memory of an idle pod", "MiB", samples, (goal,), note)


def shared_pods(bed: Bed, _runs: int) -> Result:
    """B7: the same with the node daemon, at a hundred pods."""
    samples = {}
    with _pods(bed, SHARED, NATIVE_IMAGE, _SLEEP, _MANY) as pids:
        samples["runwasi's shim, shared mode"] = [_private_mib(_parent(pid)) for pid in pids]
    with _pods(bed, RUNC, NATIVE_IMAGE, _SLEEP, _FEW) as pids:
        samples["runc's shim"] = [_private_mib(_parent(pid)) for pid in pids]
    goal = Goal("runwasi's shim, shared mode", "runc's shim", "<=", 0.5)
    note = f"Servers forked from the node daemon share its pages; measured with {_MANY} pods running."
    return Result("B7", "memory of an idle pod in shared mode", "MiB", samples, (goal,), note)


def idle_wasm(bed: Bed, _runs: int) -> Result:
    """B8: the process of an idle wasm container, beside the wasmtime command line on the same module."""
    samples = {}
    for name, runtime in (("runwasi, shared mode", SHARED), ("runwasi", WASMTIME)):
        with _pods(bed, runtime, WASM_IMAGE, (MODULE, *_SLEEP), _FEW) as pids:
            time.sleep(1)  # until each is asleep
            samples[name] = [_private_mib(pid) for pid in pids]
    command: list[str | Path] = [wasmtime_cli(), "run", WASI_DEMO_APP, *_SLEEP]
    peers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(_FEW)]
    time.sleep(1)
    samples["wasmtime run"] = [_private_mib(peer.pid) for peer in peers]
    for peer in peers:
        peer.kill()
        peer.wait()
    goal = Goal("runwasi, shared mode", "wasmtime run", "<=", 0.5)
    return Result("B8", "memory of an idle wasm container, without its pod", "MiB", samples, (goal,))


def idle_wakeups(bed: Bed, _runs: int) -> Result:
    """B12: how often an idle pod's shim wakes up."""
    samples, cpu = {}, []
    for name, runtime in (("runwasi's shim", WASMTIME), ("runc's shim", RUNC)):
        with _pods(bed, runtime, NATIVE_IMAGE, _SLEEP, _FEW) as pids:
            shims = [_parent(pid) for pid in pids]
            time.sleep(1)
            before = [_switches(shim) for shim in shims]
            used = sum(map(_cpu_ms, shims))
            time.sleep(_IDLE_SECONDS)
            cpu.append(f"{name} {(sum(map(_cpu_ms, shims)) - used) / _FEW:.2f} ms")
            samples[name] = [float(_switches(shim) - was) for shim, was in zip(shims, before, strict=True)]
    note = (
        f"Voluntary context switches of all its threads in {_IDLE_SECONDS} seconds. Ours is meant to be 0. "
        f"CPU time of each meanwhile: {', '.join(cpu)}."
    )
    return Result("B12", "wake-ups of an idle shim", "times", samples, (), note)


@contextlib.contextmanager
def _pods(bed: Bed, runtime: str, image: str, command: Sequence[str], count: int) -> Iterator[list[int]]:
    """So many containers that run, each in a pod of its own, by the pids of their first processes."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(bed.containerd.task(runtime, image, bed.id(), *command)) for _ in range(count)
        ]


def _parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def _private_mib(pid: int) -> float:
    """Private_Clean and Private_Dirty of a process, without what is shared with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
    return kib / 1024


def _switches(pid: int) -> int:
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        count += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return count


def _cpu_ms(pid: int) -> float:
    """CPU time of all threads that run, from the scheduler's own count in ns (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6
