"""Measures B9 and B13: much output, and many containers at once."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import devtools.containerd as runtimes
from devtools.ttrpc import Methods
from scripts.bench.bed import NATIVE_IMAGE, Bed
from scripts.bench.goals import RUNC
from scripts.bench.measure import Goal, Result, Samples, in_turns, sample
from scripts.bench.pod import Shim, run_task, running_shim
from scripts.bench.starts import shims

_LARGE = 100  # crowds above are measured less often
_WARM = 10
_WANTED = 1.1


def output(bed: Bed) -> list[Result]:
    """B9: standard output through containerd's FIFO."""
    chosen = {**shims(bed, runtimes.WASMTIME, runtimes.SHARED), RUNC: runtimes.RUNC}
    contenders = {name: lambda runtime=runtime: _throughput(bed, runtime) for name, runtime in chosen.items()}
    samples = sample(contenders, bed.scale.slow_runs)
    note = (
        f"The container writes {bed.scale.output_mib} MiB; ctr reads it from the FIFO. Ours is the container's own, "
        "runc's shim copies."
    )
    return [Result("B9", "standard output", "MiB/s", samples, bed.goals("B9", samples), note)]


def _throughput(bed: Bed, runtime: str) -> float:
    program = ("dd", "if=/dev/zero", "bs=64k", f"count={bed.scale.output_mib * 16}")
    command = bed.containerd.ctr_command(
        "run", "--rm", "--runtime", runtime, NATIVE_IMAGE, bed.id(), *program
    )
    started = time.monotonic()
    subprocess.run(
        command,
        env=bed.containerd.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return bed.scale.output_mib / (time.monotonic() - started)


def crowds(bed: Bed) -> list[Result]:
    """B13: containers of one pod, created and started all at once, in normal and in shared mode."""
    bundle = bed.bundle("true", "/bin/true")
    found = []
    for key, mode, runtime in (
        ("B13", "", runtimes.WASMTIME),
        ("B13-shared", ", shared mode", runtimes.SHARED),
    ):
        with running_shim(bed, runtime, bundle, seconds=120) as shim:
            samples = _crowds(shim, bed, bundle)
        first, *rest = samples
        goals = tuple(Goal(name, first, "<=", _WANTED) for name in rest)
        note = "Create, start, wait and delete of so many containers together, per container."
        found.append(Result(key, f"many at once{mode}", "ms each", samples, goals, note))
    return [*found, _beside_others(bed, bundle)]


def _beside_others(bed: Bed, bundle: Path) -> Result:
    """Measure one more pod of shared mode where so many are there, each with a container that sleeps."""
    sleeping = bed.bundle("sleep", "sleep", "1000")
    samples: Samples = {}
    with contextlib.ExitStack() as stack:
        there = 0
        for count in bed.scale.crowds:
            while there < count - 1:
                _enter_pod(stack, bed, sleeping)
                there += 1
            name = f"the {count}th pod" if count > 1 else "the first pod"
            one_more = {name: lambda: _pod(bed, bundle)}
            samples |= in_turns(one_more, bed.scale.runs)
    first, *rest = samples
    goals = tuple(Goal(name, first, "<=", _WANTED) for name in rest)
    note = "Start of the shim, create, start, wait, delete and shutdown, while the others' containers sleep."
    return Result("B13-pods", "one more pod of shared mode", "ms", samples, goals, note)


def _enter_pod(stack: contextlib.ExitStack, bed: Bed, bundle: Path) -> None:
    """Start a pod of shared mode with one container that sleeps until the stack is closed."""
    shim = stack.enter_context(running_shim(bed, runtimes.SHARED, bundle))
    service = stack.enter_context(shim.connected())
    container = bed.id()
    service.call("Create", id=container, bundle=str(bundle))
    service.call("Start", id=container)
    stack.callback(_end, service, container)


def _end(service: Methods, container: str) -> None:
    service.call("Kill", id=container, signal=signal.SIGKILL, all=True)
    service.call("Wait", id=container)
    service.call("Delete", id=container)


def _pod(bed: Bed, bundle: Path) -> None:
    with running_shim(bed, runtimes.SHARED, bundle) as shim, shim.connected() as service:
        run_task(service, bed.id(), bundle)


def _crowds(shim: Shim, bed: Bed, bundle: Path) -> Samples:
    scale = bed.scale
    samples: Samples = {f"{count} at once": [] for count in scale.crowds}
    with shim.connected() as service:
        _crowd(service, bed, bundle, _WARM)
        for turn in range(scale.runs):
            for count in scale.crowds:
                if count <= _LARGE or turn < scale.large_crowds:
                    samples[f"{count} at once"].append(_crowd(service, bed, bundle, count))
    return samples


def _crowd(service: Methods, bed: Bed, bundle: Path, count: int) -> float:
    """Return milliseconds for each of so many containers from their creation to their end."""
    ids = [bed.id() for _ in range(count)]
    started = time.monotonic()
    _each(service, "Create", ids, bundle=str(bundle))
    for method in ("Start", "Wait", "Delete"):
        _each(service, method, ids)
    return (time.monotonic() - started) * 1000 / count


def _each(service: Methods, method: str, ids: list[str], **members: Any) -> None:
    """Call a method for every id before the first answer is read."""
    streams = [service.begin(method, id=container, **members) for container in ids]
    for stream in streams:
        service.collect(method, stream)
