"""B1 to B4: how long it takes to start a container, run almost nothing in it, and clean up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from devtools.containerd import RUNC, WASMTIME
from devtools.places import BIN
from devtools.ttrpc import Methods
from scripts.bench.bed import CLI_IMAGE, MODULE, NATIVE_IMAGE, WASM_IMAGE, Bed
from scripts.bench.measure import Goal, Result, in_turns
from scripts.bench.pod import running_shim

_TRUE = "/bin/true"


def warm_pod(bed: Bed, runs: int) -> Result:
    """B1: a container in a pod whose shim is running, asked over ttrpc."""
    bundle = bed.bundle("true", _TRUE)
    pod = bed.id()
    with running_shim(bundle, pod, namespace=bed.session, address=bed.containerd.address) as shim:
        samples = in_turns(
            {
                "runwasi: create, start, wait, delete": lambda: _through(shim, bed, bundle),
                "crun run": _command_line("/usr/bin/crun", bed, bundle),
                "runc run": _command_line("/usr/sbin/runc", bed, bundle),
            },
            runs,
        )
    return Result(
        "B1",
        "native container in a running shim",
        "ms",
        samples,
        (Goal("runwasi: create, start, wait, delete", "crun run", "<=", 0.6),),
        "What one more container of a pod costs. The peer executes its program for it, as its shim would.",
    )


def _through(shim: Methods, bed: Bed, bundle: Path) -> None:
    container = bed.id()
    shim.call("Create", id=container, bundle=str(bundle))
    shim.call("Start", id=container)
    status = shim.call("Wait", id=container).exit_status
    shim.call("Delete", id=container)
    if status != 0:
        raise RuntimeError(f"{container} exited with {status}")


def cold_native(bed: Bed, runs: int) -> Result:
    """B2 and B2c: ctr run of a native container."""
    samples = in_turns(
        {
            "runwasi": _ctr_run(bed, WASMTIME, NATIVE_IMAGE, _TRUE),
            "runc's shim, runc": _ctr_run(bed, RUNC, NATIVE_IMAGE, _TRUE),
            "runc's shim, crun": _ctr_run(bed, RUNC, NATIVE_IMAGE, _TRUE, "--runc-binary", "/usr/bin/crun"),
        },
        runs,
    )
    return Result(
        "B2",
        "ctr run --rm of /bin/true, no shim running",
        "ms",
        samples,
        (Goal("runwasi", "runc's shim, runc", "<=", 0.8), Goal("runwasi", "runc's shim, crun", "<=", 1.0)),
        "Much of each is ctr and containerd themselves: snapshot, mount, two starts of the shim's program.",
    )


def cold_wasm(bed: Bed, runs: int) -> Result:
    """B3: ctr run of a wasm hello world."""
    samples = in_turns(
        {
            "runwasi": _ctr_run(bed, WASMTIME, WASM_IMAGE, MODULE, after=("echo", "hello")),
            "runc's shim, wasmtime CLI": _ctr_run(
                bed, RUNC, CLI_IMAGE, "/bin/wasmtime", after=("run", MODULE, "echo", "hello")
            ),
            "runc's shim, wasmtime CLI, compiled ahead": _ctr_run(
                bed,
                RUNC,
                CLI_IMAGE,
                "/bin/wasmtime",
                after=("run", "--allow-precompiled", "/module.cwasm", "echo", "hello"),
            ),
        },
        runs,
    )
    return Result(
        "B3",
        "ctr run --rm of a wasm hello world, no shim running",
        "ms",
        samples,
        (Goal("runwasi", "runc's shim, wasmtime CLI", "<=", 0.6),),
        "The peer is the other way to run wasm in a container: the wasmtime command line in the image.",
    )


def command_line(bed: Bed, runs: int) -> Result:
    """B4: run of a bundle by hand."""
    bundle = bed.bundle("true", _TRUE)
    samples = in_turns(
        {
            "runwasi run": _command_line(str(BIN / "runwasi"), bed, bundle),
            "runc run": _command_line("/usr/sbin/runc", bed, bundle),
            "crun run": _command_line("/usr/bin/crun", bed, bundle),
        },
        runs,
    )
    return Result(
        "B4",
        "run of /bin/true from a bundle",
        "ms",
        samples,
        (Goal("runwasi run", "runc run", "<=", 1.0),),
        "A cold process each time: for us that includes the start of the Python interpreter.",
    )


def _ctr_run(
    bed: Bed, runtime: str, image: str, program: str, *options: str, after: tuple[str, ...] = ()
) -> Callable[[], None]:
    def run() -> None:
        bed.containerd.ctr("run", "--rm", "--runtime", runtime, *options, image, bed.id(), program, *after)

    return run


def _command_line(program: str, bed: Bed, bundle: Path) -> Callable[[], None]:
    root = bed.folder / f"root-{Path(program).name}"

    def run() -> None:
        subprocess.run(
            [program, "--root", root, "run", "--bundle", bundle, bed.id()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    return run
