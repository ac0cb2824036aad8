"""Measures B14: requests to a component that serves HTTP, in a container under containerd."""

from __future__ import annotations

import contextlib
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from devtools.containerd import RUNC, SHARED, WASMTIME
from devtools.serving import free_port
from devtools.waiting import until
from scripts.bench.bed import CLI_IMAGE, HTTP_COMPONENT, HTTP_IMAGE, Bed
from scripts.bench.goals import OURS
from scripts.bench.goals import SHARED as SHARED_MODE
from scripts.bench.machine import busy_cpus
from scripts.bench.measure import Goal, Relation, Result

_CONNECTIONS = 50
_WORKERS = (1, 2)


class Contender(NamedTuple):
    """A container that serves the component on a port of this machine.

    threads is how many it serves with, 0 for as many as it likes.
    """

    threads: int
    ours: bool
    runtime: str
    image: str
    command: tuple[str, ...]
    options: tuple[str, ...]
    port: int


class Answer(NamedTuple):
    """The result of one turn of wrk."""

    rate: float
    p99: float
    cpu: float


_MEASURES: tuple[tuple[str, str, str, Relation, str], ...] = (
    # a member of Answer, what it is, its unit, which way a goal goes, a note
    (
        "rate", "requests a second", "requests/s", ">=",
        "Each in a container under containerd, on the host's network; wrk has a thread of its own.",
    ),
    (
        "cpu", "CPU time of a request", "us", "<=",
        "What the container's cgroup used, by the requests answered: system calls are in it, wrk is not.",
    ),
    ("p99", "99th percentile of latency", "ms", "<=", ""),
)  # fmt: skip


def requests(bed: Bed) -> list[Result]:
    """B14: the smallest component there can be, served by each contender, asked in turns."""
    contenders = _contenders(bed)
    with contextlib.ExitStack() as stack:
        pids = {name: stack.enter_context(_running(bed, each)) for name, each in contenders.items()}
        quiet = _in_turns(contenders, pids, bed)
        with busy_cpus():
            busy = _in_turns(contenders, pids, bed)
    return [
        *_results("", "", quiet, contenders),
        *_results("-busy", ", every CPU taken by others", busy, contenders),
    ]


def _contenders(bed: Bed) -> dict[str, Contender]:
    """Return ours and `wasmtime serve` with one worker and with two, and the shims that were named."""
    found: dict[str, Contender] = {}
    for count in _WORKERS:
        plural = "s" if count > 1 else ""
        workers = ("--annotation", f"io.runwasi.http.workers={count}")
        found[f"{OURS}, {count} worker{plural}"] = _shim(count, WASMTIME, *workers)
        found[f"{SHARED_MODE}, {count} worker{plural}"] = _shim(count, SHARED, *workers)
    for name, runtime in bed.peers.items():
        found[name] = _shim(0, runtime)
    for count in _WORKERS:
        plural = "s" if count > 1 else ""
        port = free_port()
        command = ("/bin/wasmtime", "serve", "--addr", f"127.0.0.1:{port}", HTTP_COMPONENT)
        threads = ("--env", f"TOKIO_WORKER_THREADS={count}")
        name = f"wasmtime serve, {count} thread{plural}"
        found[name] = Contender(count, False, RUNC, CLI_IMAGE, command, threads, port)
    return found


def _shim(threads: int, runtime: str, *options: str) -> Contender:
    """Return a container of a shim that serves components itself."""
    port = free_port()
    address = ("--env", f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{port}")
    command = (HTTP_COMPONENT,)
    return Contender(threads, threads > 0, runtime, HTTP_IMAGE, command, (*address, *options), port)


@contextlib.contextmanager
def _running(bed: Bed, contender: Contender) -> Iterator[int]:
    """The contender's container, once it answers, by its pid."""
    options = ("--net-host", *contender.options)
    with bed.containerd.task(
        contender.runtime, contender.image, bed.id(), *contender.command, options=options
    ) as pid:
        until(lambda: _answers(contender.port), bool)
        yield pid


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _in_turns(
    contenders: Mapping[str, Contender], pids: Mapping[str, int], bed: Bed
) -> dict[str, list[Answer]]:
    answers: dict[str, list[Answer]] = {name: [] for name in contenders}
    for turn in range(bed.scale.http_runs + 1):
        for name, contender in contenders.items():
            answer = _ask(contender.port, pids[name], bed.scale.http_seconds)
            if turn:  # the first warms up
                answers[name].append(answer)
    return answers


def _results(
    suffix: str, how: str, answers: Mapping[str, list[Answer]], contenders: Mapping[str, Contender]
) -> list[Result]:
    """Return rates, CPU times and latencies, as a result each."""
    pairs = [
        (one, peer)
        for one, ours in contenders.items()
        for peer, theirs in contenders.items()
        if ours.ours and not theirs.ours and ours.threads == (theirs.threads or max(_WORKERS))
    ]
    results = []
    for key, what, unit, relation, note in _MEASURES:
        samples = {name: [getattr(answer, key) for answer in taken] for name, taken in answers.items()}
        goals = tuple(Goal(one, peer, relation, 1.0) for one, peer in pairs)
        title = f"{what} of a component in 8 KB, {_CONNECTIONS} connections{how}"
        results.append(Result(f"B14-{key}{suffix}", title, unit, samples, goals, note))
    return results


def _ask(port: int, pid: int, seconds: int) -> Answer:
    """Let wrk ask for a while."""
    before = _cpu_us(pid)
    command = ["wrk", "--threads", "1", "--connections", str(_CONNECTIONS), "--duration", f"{seconds}s"]
    output = subprocess.run(
        [*command, "--latency", f"http://127.0.0.1:{port}/"], check=True, capture_output=True, text=True
    ).stdout
    used = _cpu_us(pid) - before
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    count = re.search(r"(\d+) requests in", output)
    latency = re.search(r"99%\s*([\d.]+)(us|ms|s)", output)
    assert rate
    assert count
    assert latency
    p99 = float(latency[1]) * {"us": 0.001, "ms": 1, "s": 1000}[latency[2]]
    return Answer(float(rate[1]), p99, used / int(count[1]))


def _cpu_us(pid: int) -> float:
    """CPU time, in microseconds, that the cgroup of a process has used. Source: man 7 cgroups."""
    mounted = Path("/sys/fs/cgroup")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpuacct" in controllers.split(","):
            return int((mounted / "cpuacct" / path.lstrip("/") / "cpuacct.usage").read_text()) / 1000
    unified = Path(f"/proc/{pid}/cgroup").read_text().rpartition("::")[2].strip()
    usage = (mounted / unified.lstrip("/") / "cpu.stat").read_text().split()
    return float(usage[usage.index("usage_usec") + 1])
