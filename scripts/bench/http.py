"""B14: requests of a component that serves HTTP."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.bench.bed import Bed, wasmtime_cli
from scripts.bench.measure import Goal, Result, Samples
from tests.fixtures.components.build import component
from tests.support.components import free_port, serving
from tests.support.waiting import until

CONNECTIONS = 50
SECONDS = 2


def requests(_bed: Bed, runs: int) -> Result:
    """B14: the smallest component under our server and under wasmtime's, both running, asked in turns."""
    latencies: Samples = {"runwasi": [], "wasmtime serve": []}
    samples: Samples = {"runwasi": [], "wasmtime serve": []}
    with serving("hello", workers=2) as ours, _wasmtime_serve() as theirs:
        ports = {"runwasi": ours.port, "wasmtime serve": theirs}
        for turn in range(runs + 1):
            for name, port in ports.items():
                rate, latency = _ask(port)
                if turn:  # the first warms up
                    samples[name].append(rate)
                    latencies[name].append(latency)
    note = "; ".join(
        f"{name}: 99 % within {sorted(values)[len(values) // 2]:.1f} ms" for name, values in latencies.items()
    )
    goal = Goal("runwasi", "wasmtime serve", ">=", 0.8)
    title = f"requests a second of a component in 8 KB, {CONNECTIONS} connections"
    return Result("B14", title, "requests/s", samples, (goal,), f"Two workers. {note}.")


@contextmanager
def _wasmtime_serve() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        [wasmtime_cli(), "serve", "--addr", f"127.0.0.1:{port}", component("hello")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        until(process.stderr.readline, lambda line: "Serving" in line)
        yield port
    finally:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def _ask(port: int) -> tuple[float, float]:
    """Let wrk ask for a while; give requests a second and the 99th percentile of latency in ms."""
    command = [
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(CONNECTIONS),
        "--duration",
        f"{SECONDS}s",
        "--latency",
    ]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], check=True, capture_output=True, text=True
    ).stdout
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    latency = re.search(r"99%\s*([\d.]+)(us|ms|s)", output)
    assert rate
    assert latency
    return float(rate[1]), float(latency[1]) * {"us": 0.001, "ms": 1, "s": 1000}[latency[2]]
