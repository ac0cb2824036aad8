"""Measures B5 and B5w: short wasm tasks a second, through containerd and in one warm shim."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import devtools.containerd as runtimes
from devtools.places import WASI_DEMO_APP
from devtools.ttrpc import Methods
from scripts.bench.bed import MODULE, Bed
from scripts.bench.goals import CLI
from scripts.bench.measure import Result, sample
from scripts.bench.pod import run_task, running_shim
from scripts.bench.starts import shims
from scripts.stress.api import Api

_AT_ONCE = 8
_AT_ONCE_WARM = (1, 4)
_HELLO = ("echo", "hello")


def through_containerd(bed: Bed) -> list[Result]:
    """B5: short wasm tasks, eight at a time, each with a shim of its own, by scripts/stress's client."""
    module = _wasm_bundle(bed)
    # Without a cache: the root is read-only, and in a fresh container the cache would be empty.
    wasmtime = ("/bin/wasmtime", "run", "-C", "cache=n")
    cli = bed.bundle("cli", *wasmtime, MODULE, *_HELLO, files=bed.cli_files())
    api = Api(str(bed.containerd.address), bed.session)
    try:
        contenders = {
            name: _through(api, bed, runtime, module)
            for name, runtime in shims(bed, runtimes.WASMTIME, runtimes.SHARED).items()
        }
        contenders[CLI] = _through(api, bed, runtimes.RUNC, cli)
        samples = sample(contenders, bed.scale.runs)
    finally:
        api.close()
    count = bed.scale.tasks * bed.scale.runs
    note = f"{count} tasks of each, {bed.scale.tasks} in a turn: container, task, start, wait and delete, by gRPC."
    title = f"short wasm tasks through containerd, {_AT_ONCE} at a time"
    return [Result("B5", title, "tasks/s", samples, bed.goals("B5", samples), note)]


def in_a_warm_shim(bed: Bed) -> list[Result]:
    """B5w: the seed project's stress test: tasks of one pod over ttrpc, without containerd."""
    bundle = _wasm_bundle(bed)
    found = []
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(running_shim(bed, runtime, bundle))
            for name, runtime in shims(bed, runtimes.WASMTIME, runtimes.SHARED).items()
        }
        for at_once in _AT_ONCE_WARM:
            contenders = {}
            for name, shim in running.items():
                services = [stack.enter_context(shim.connected()) for _ in range(at_once)]
                callers = [_caller(bed, bundle, service) for service in services]
                contenders[name] = lambda callers=callers: _rate(bed.scale.tasks, callers)
            samples = sample(contenders, bed.scale.runs, warm=1)
            key, title = f"B5w-{at_once}", f"short wasm tasks in one warm shim, {at_once} at a time"
            found.append(Result(key, title, "tasks/s", samples, bed.goals(key, samples), _WARM_NOTE))
    return found


_WARM_NOTE = (
    "Create, start, wait and delete over ttrpc, as the stress test of the Rust project does; no containerd."
)


def _wasm_bundle(bed: Bed) -> Path:
    return bed.bundle("hello", MODULE, *_HELLO, files={MODULE: WASI_DEMO_APP.read_bytes()})


def _caller(bed: Bed, bundle: Path, service: Methods) -> Callable[[], None]:
    return lambda: run_task(service, bed.id(), bundle)


def _through(api: Api, bed: Bed, runtime: str, bundle: Path) -> Callable[[], float]:
    spec = json.loads((bundle / "config.json").read_text())
    spec["root"]["readonly"] = True

    def one() -> None:
        container = bed.id()
        placed = {**spec, "linux": {**spec["linux"], "cgroupsPath": f"/{bed.session}/{container}"}}
        status = api.run(container, runtime, placed, str(bundle / "rootfs"))
        if status:
            raise RuntimeError(f"{container} exited with {status}")

    return lambda: _rate(bed.scale.tasks, [one] * _AT_ONCE)


def _rate(tasks: int, callers: list[Callable[[], None]]) -> float:
    """Return the tasks a second that the callers do, each one task after the other."""
    left = iter(range(tasks))

    def work(call: Callable[[], None]) -> None:
        for _ in left:
            call()

    started = time.monotonic()
    with ThreadPoolExecutor(len(callers)) as pool:
        list(pool.map(work, callers))
    return tasks / (time.monotonic() - started)
