"""Measures B1 to B4: how long it takes to start a container, run almost nothing in it, and clean up."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import devtools.containerd as runtimes
from devtools.places import BIN
from scripts.bench.bed import CLI_IMAGE, MODULE, NATIVE_IMAGE, WASM_IMAGE, Bed
from scripts.bench.goals import (
    CLI,
    CLI_COMPILED,
    CRUN,
    CRUN_RUN,
    OURS,
    RUNC,
    RUNC_RUN,
    RUNWASI_RUN,
    SHARED,
)
from scripts.bench.machine import busy_cpus
from scripts.bench.measure import Result, in_turns
from scripts.bench.pod import run_task, running_shim

_TRUE = "/bin/true"
_HELLO = ("echo", "hello")
_RUNC_PROGRAM, _CRUN_PROGRAM = "/usr/sbin/runc", "/usr/bin/crun"

Contenders = Mapping[str, Callable[[], None]]


def warm_pod(bed: Bed) -> list[Result]:
    """B1: a container in a pod whose shim is running, asked over ttrpc."""
    bundle = bed.bundle("true", _TRUE)
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(_asked(bed, runtime, bundle))
            for name, runtime in shims(bed, runtimes.WASMTIME, runtimes.SHARED).items()
        }
        contenders[CRUN_RUN] = _command_line(_CRUN_PROGRAM, bed, bundle)
        contenders[RUNC_RUN] = _command_line(_RUNC_PROGRAM, bed, bundle)
        samples = in_turns(contenders, bed.scale.runs)
    note = (
        "What one more container of a pod costs: create, start, wait and delete. runc and crun are run as programs, "
        "as a shim would do."
    )
    return [Result("B1", "native container in a running shim", "ms", samples, bed.goals("B1", samples), note)]


def shims(bed: Bed, ours: str, shared: str) -> dict[str, str]:
    """Return our two runtimes and those that were named, by the names they have in the tables."""
    return {OURS: ours, SHARED: shared, **bed.peers}


@contextlib.contextmanager
def _asked(bed: Bed, runtime: str, bundle: Path) -> Iterator[Callable[[], None]]:
    with running_shim(bed, runtime, bundle) as shim, shim.connected() as service:
        yield lambda: run_task(service, bed.id(), bundle)


def cold_native(bed: Bed) -> list[Result]:
    """B2: ctr run of a native container, quiet and with every CPU busy."""
    contenders = {
        name: _ctr_run(bed, runtime, NATIVE_IMAGE, _TRUE)
        for name, runtime in shims(bed, runtimes.WASMTIME, runtimes.SHARED).items()
    }
    contenders[RUNC] = _ctr_run(bed, runtimes.RUNC, NATIVE_IMAGE, _TRUE)
    contenders[CRUN] = _ctr_run(
        bed, runtimes.RUNC, NATIVE_IMAGE, _TRUE, options=("--runc-binary", _CRUN_PROGRAM)
    )
    note = "Much of each is ctr and containerd themselves: snapshot, mount, two starts of the shim's program."
    return _quiet_and_busy(bed, "B2", "ctr run --rm of /bin/true, no shim running", contenders, note)


def cold_wasm(bed: Bed) -> list[Result]:
    """B3: ctr run of a wasm hello world, quiet and with every CPU busy."""
    contenders = {
        name: _ctr_run(bed, runtime, WASM_IMAGE, MODULE, *_HELLO)
        for name, runtime in shims(bed, runtimes.WASMTIME, runtimes.SHARED).items()
    }
    wasmtime = ("/bin/wasmtime", "run")
    compiled = (*wasmtime, "--allow-precompiled", "/module.cwasm")
    contenders[CLI] = _ctr_run(bed, runtimes.RUNC, CLI_IMAGE, *wasmtime, MODULE, *_HELLO)
    contenders[CLI_COMPILED] = _ctr_run(bed, runtimes.RUNC, CLI_IMAGE, *compiled, *_HELLO)
    note = "The other way to run wasm in a container is there too: the wasmtime command line in the image."
    return _quiet_and_busy(bed, "B3", "ctr run --rm of a wasm hello world, no shim running", contenders, note)


def _quiet_and_busy(bed: Bed, key: str, title: str, contenders: Contenders, note: str) -> list[Result]:
    quiet = in_turns(contenders, bed.scale.runs)
    with busy_cpus():
        busy = in_turns(contenders, bed.scale.runs, warm=1)
    return [
        Result(key, title, "ms", quiet, bed.goals(key, quiet), note),
        Result(
            f"{key}-busy", f"{title}, every CPU taken by others", "ms", busy, bed.goals(f"{key}-busy", busy)
        ),
    ]


def command_line(bed: Bed) -> list[Result]:
    """B4: run of a bundle by hand, a cold process each time."""
    bundle = bed.bundle("true", _TRUE)
    programs = {RUNWASI_RUN: str(BIN / "runwasi"), RUNC_RUN: _RUNC_PROGRAM, CRUN_RUN: _CRUN_PROGRAM}
    samples = in_turns(
        {name: _command_line(program, bed, bundle) for name, program in programs.items()}, bed.scale.runs
    )
    title = "run of /bin/true from a bundle"
    note = "A cold process each time: for us that includes the start of the Python interpreter."
    results = [Result("B4", title, "ms", samples, bed.goals("B4", samples), note)]
    return results + (
        _as_hyperfine_measures(bed, bundle, programs, title) if shutil.which("hyperfine") else []
    )


def _as_hyperfine_measures(bed: Bed, bundle: Path, programs: Mapping[str, str], title: str) -> list[Result]:
    """Measure the same with hyperfine, one program after the other."""
    export = bed.folder / "hyperfine.json"
    commands = [
        f"{program} --root {_root(program, bed)} run --bundle {bundle} {bed.id()}"
        for program in programs.values()
    ]
    how = [
        "--shell=none",
        "--warmup",
        "3",
        "--runs",
        str(max(bed.scale.runs, 2)),
        "--export-json",
        str(export),
    ]
    subprocess.run(["hyperfine", *how, *commands], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    measured = json.loads(export.read_text())["results"]
    samples = {
        name: [seconds * 1000 for seconds in one["times"]]
        for name, one in zip(programs, measured, strict=True)
    }
    goals = bed.goals("B4-hyperfine", samples)
    return [Result("B4-hyperfine", f"{title}, by hyperfine", "ms", samples, goals, "One after the other.")]


def _ctr_run(
    bed: Bed, runtime: str, image: str, *command: str, options: tuple[str, ...] = ()
) -> Callable[[], None]:
    def run() -> None:
        bed.containerd.ctr("run", "--rm", "--runtime", runtime, *options, image, bed.id(), *command)

    return run


def _command_line(program: str, bed: Bed, bundle: Path) -> Callable[[], None]:
    root = _root(program, bed)

    def run() -> None:
        subprocess.run(
            [program, "--root", root, "run", "--bundle", bundle, bed.id()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    return run


def _root(program: str, bed: Bed) -> Path:
    return bed.folder / f"root-{Path(program).name}"
