"""B5, B9 and B13: many containers in a row, many at once, and much output."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from devtools.containerd import RUNC, SHARED, WASMTIME
from devtools.ttrpc import Methods
from scripts.bench.bed import CLI_IMAGE, MODULE, NATIVE_IMAGE, WASM_IMAGE, Bed
from scripts.bench.measure import Goal, Result, Samples
from scripts.bench.pod import running_shim

_TASKS, _AT_ONCE = 80, 8
_OUTPUT_MIB = 1024
_CROWDS = {1: 20, 10: 5, 100: 3, 500: 3}  # so many at once, so many times


def tasks_per_second(bed: Bed, _runs: int) -> Result:
    """B5: short wasm tasks, eight at a time."""
    contenders = {
        "runwasi, shared mode": (SHARED, WASM_IMAGE, (MODULE, "echo", "hello")),
        "runwasi": (WASMTIME, WASM_IMAGE, (MODULE, "echo", "hello")),
        "runc's shim, wasmtime CLI": (RUNC, CLI_IMAGE, ("/bin/wasmtime", "run", MODULE, "echo", "hello")),
    }
    samples: Samples = {name: [] for name in contenders}
    for _ in range(3):
        for name, (runtime, image, command) in contenders.items():
            samples[name].append(_rate(bed, runtime, image, command))
    goal = Goal("runwasi, shared mode", "runc's shim, wasmtime CLI", ">=", 4)
    note = f"{_TASKS} times `ctr run --rm`, {_AT_ONCE} at a time; ctr and containerd take their part of the CPUs."
    return Result("B5", "short wasm tasks", "tasks/s", samples, (goal,), note)


def _rate(bed: Bed, runtime: str, image: str, command: tuple[str, ...]) -> float:
    def one(_number: int) -> None:
        bed.containerd.ctr("run", "--rm", "--runtime", runtime, image, bed.id(), *command)

    started = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, range(_TASKS)))
    return _TASKS / (time.monotonic() - started)


def output(bed: Bed, _runs: int) -> Result:
    """B9: standard output through containerd's FIFO."""
    samples: Samples = {"runwasi": [], "runc's shim": []}
    for _ in range(5):
        samples["runwasi"].append(_throughput(bed, WASMTIME))
        samples["runc's shim"].append(_throughput(bed, RUNC))
    goal = Goal("runwasi", "runc's shim", ">=", 1.0)
    note = "The container writes 1 GiB; ctr reads it from the FIFO. Ours is the container's own, runc's shim copies."
    return Result("B9", "standard output", "MiB/s", samples, (goal,), note)


def _throughput(bed: Bed, runtime: str) -> float:
    program = ("dd", "if=/dev/zero", "bs=64k", f"count={_OUTPUT_MIB * 16}")
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
    return _OUTPUT_MIB / (time.monotonic() - started)


def crowds(bed: Bed, _runs: int) -> Result:
    """B13: containers of one pod, created and started all at once."""
    bundle = bed.bundle("true", "/bin/true")
    samples: Samples = {}
    with running_shim(
        bundle, bed.id(), namespace=bed.session, address=bed.containerd.address, seconds=120
    ) as shim:
        _crowd(shim, bed, bundle, 10)  # warms up
        for count, times in _CROWDS.items():
            samples[f"{count} at once"] = [_crowd(shim, bed, bundle, count) for _ in range(times)]
    goals = tuple(Goal(f"{count} at once", "1 at once", "<=", 1.3) for count in _CROWDS if count > 1)
    note = "Create, start, wait and delete of so many containers together, per container."
    return Result("B13", "many at once", "ms each", samples, goals, note)


def _crowd(shim: Methods, bed: Bed, bundle: Path, count: int) -> float:
    """Milliseconds for each of so many containers from their creation to their end."""
    ids = [bed.id() for _ in range(count)]
    started = time.monotonic()
    _each(shim, "Create", ids, bundle=str(bundle))
    for method in ("Start", "Wait", "Delete"):
        _each(shim, method, ids)
    return (time.monotonic() - started) * 1000 / count


def _each(shim: Methods, method: str, ids: list[str], **members: Any) -> None:
    """Call a method for every id before the first answer is read."""
    streams = [shim.begin(method, id=container, **members) for container in ids]
    for stream in streams:
        shim.collect(method, stream)
