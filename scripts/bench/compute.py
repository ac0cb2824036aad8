"""Measures B10: a guest that computes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devtools.bundle import make_bundle
from devtools.places import BIN
from scripts.bench.bed import Bed, wasmtime_cli
from scripts.bench.goals import RUNWASI_RUN, WASMTIME_RUN
from scripts.bench.measure import Result, in_turns

_SOURCE = Path(__file__).with_name("sieve.c")


def steady_state(bed: Bed) -> list[Result]:
    """B10: the same module under our command line and under wasmtime's, for some seconds."""
    module = bed.folder / "sieve.wasm"
    subprocess.run(["clang", "--target=wasm32-wasi", "-O2", "-o", module, _SOURCE], check=True)
    bundle = make_bundle(
        bed.folder / "sieve", ["/sieve.wasm"], files={"/sieve.wasm": module.read_bytes()}
    ).path

    def ours() -> None:
        command: list[str | Path] = [
            BIN / "runwasi",
            "--root",
            bed.folder / "sieve-root",
            "run",
            "--bundle",
            bundle,
            bed.id(),
        ]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    def theirs() -> None:
        command: list[str | Path] = [wasmtime_cli(), "run", module]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    contenders = {RUNWASI_RUN: ours, WASMTIME_RUN: theirs}
    samples = in_turns(contenders, bed.scale.slow_runs, warm=min(bed.scale.slow_runs - 1, 1))
    note = (
        "A sieve of some seconds; the start of the container is in it. The top of the page has both releases of "
        "wasmtime."
    )
    return [Result("B10", "a guest that computes", "ms", samples, bed.goals("B10", samples), note)]
