"""Run N short tasks, M at a time, through a containerd, and say how many a second, how long each took, what failed.

    python -m scripts.stress                              1,000 wasm tasks, 8 at a time, a containerd of its own
    python -m scripts.stress --release 2 --runtime io.containerd.wasmtimed.v1 --tasks 1000 --at-once 32
    python -m scripts.stress --address /run/containerd/containerd.sock --runtime io.containerd.runc.v2 \\
        --rootfs /srv/rootfs -- /bin/true

Each task is a container of its own: created, started, waited for and deleted. With --pod they all belong to one pod,
so that one warm shim serves them; without it each has a shim of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from devtools import leaks
from devtools.bundle import make_bundle
from devtools.containerd import HOSTS, WASMTIME, running_containerd
from devtools.daemon import Daemon
from devtools.places import SESSION_VARIABLE, WASI_DEMO_APP
from scripts.stress.api import Api

_MODULE = "/wasi-demo-app.wasm"
_GROUP = "io.containerd.runc.v2.group"


class Outcome(NamedTuple):
    """The results of all tasks: the seconds that each successful one took, and how often each failure was seen."""

    seconds: float
    latencies: list[float]
    failures: Counter[str]

    def as_json(self) -> dict[str, Any]:
        """Return the figures: rates in tasks a second, latencies in milliseconds."""
        cuts = statistics.quantiles(self.latencies, n=100) if len(self.latencies) > 1 else self.latencies * 99
        return {
            "tasks": len(self.latencies) + self.failures.total(),
            "seconds": round(self.seconds, 3),
            "tasks_per_second": round(len(self.latencies) / self.seconds, 2),
            "latency_ms": {f"p{p}": round(cuts[p - 1] * 1000, 1) for p in (50, 90, 99)} if cuts else {},
            "failures": dict(self.failures),
        }


def main() -> int:
    given = _arguments()
    session = f"stress{uuid.uuid4().hex[:6]}"
    os.environ[SESSION_VARIABLE] = session
    before = leaks.take(session)
    with (
        tempfile.TemporaryDirectory(prefix=f"{session}-") as name,
        _host(Path(name), session, given) as address,
    ):
        outcome = stress(given, Api(address, given.namespace or session), Path(name), session)
    left = leaks.since(before, session)
    _report(outcome, left, as_json=given.json)
    return 1 if outcome.failures or left else 0


def stress(given: argparse.Namespace, api: Api, folder: Path, session: str) -> Outcome:
    """Run all the tasks."""
    command = given.command or [_MODULE, "exit", "0"]
    rootfs, spec = _program(given, folder, command)
    if given.pod:
        spec["annotations"] = {**spec.get("annotations", {}), _GROUP: f"{session}-pod"}
    latencies: list[float] = []
    failures: Counter[str] = Counter()

    def one(number: int) -> None:
        started = time.monotonic()
        container_id = f"{session}-{number}"
        try:
            status = api.run(container_id, given.runtime, _placed(spec, session, container_id), rootfs)
        except grpc.RpcError as error:
            failures[str(error.details() if isinstance(error, grpc.Call) else error)] += 1
            return
        if status:
            failures[f"exit status {status}"] += 1
        else:
            latencies.append(time.monotonic() - started)

    with contextlib.ExitStack() as pod:
        if given.pod:  # its shim lives while one of its tasks does, and one that is created is enough
            keeper = f"{session}-pod"
            placed = _placed(spec, session, keeper)
            pod.enter_context(api.created(keeper, given.runtime, placed, rootfs))
        started = time.monotonic()
        with ThreadPoolExecutor(given.at_once) as pool:
            list(pool.map(one, range(given.tasks)))
        seconds = time.monotonic() - started
    api.close()
    return Outcome(seconds, latencies, failures)


def _program(given: argparse.Namespace, folder: Path, command: list[str]) -> tuple[str, dict[str, Any]]:
    files = {_MODULE: WASI_DEMO_APP.read_bytes()} if WASI_DEMO_APP.exists() else {}
    bundle = make_bundle(folder / "bundle", command, files=files)
    spec = bundle.config
    spec["root"] = {"path": "rootfs", "readonly": True}
    return str(given.rootfs or bundle.rootfs), spec


def _placed(spec: dict[str, Any], session: str, container_id: str) -> dict[str, Any]:
    linux = {**spec["linux"], "cgroupsPath": f"/{session}/{container_id}"}
    return {**spec, "linux": linux}


@contextlib.contextmanager
def _host(folder: Path, session: str, given: argparse.Namespace) -> Iterator[str]:
    """The containerd that was named, or one of our own whose shims have a node daemon of their own."""
    if given.address:
        yield given.address
        return
    daemon = Daemon(folder)
    os.environ |= daemon.environment
    try:
        with running_containerd(folder / "containerd", HOSTS[given.release], namespace=session) as containerd:
            yield str(containerd.address)
    finally:
        daemon.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.stress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--tasks", type=_positive, default=1000, metavar="N", help="how many tasks (%(default)s)"
    )
    parser.add_argument("--at-once", type=_positive, default=8, metavar="M", help="at a time (%(default)s)")
    parser.add_argument("--runtime", default=WASMTIME, help="containerd's name of the runtime (%(default)s)")
    parser.add_argument("--pod", action="store_true", help="all tasks in one pod, served by one warm shim")
    parser.add_argument("--address", help="the socket of a containerd that runs; without it one is started")
    parser.add_argument("--namespace", help="containerd's namespace; a fresh one without it")
    parser.add_argument(
        "--release", choices=sorted(HOSTS), default="1.6", help="which to start (%(default)s)"
    )
    parser.add_argument("--rootfs", type=Path, help="root filesystem; busybox and the demo module without it")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("command", nargs="*", help=f"the task's program and arguments ({_MODULE} exit 0)")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _report(outcome: Outcome, left: list[str], *, as_json: bool) -> None:
    figures = outcome.as_json() | {"left_behind": left}
    if as_json:
        print(json.dumps(figures))
        return
    failed = outcome.failures.total()
    print(
        f"{figures['tasks']} tasks in {figures['seconds']} s: {figures['tasks_per_second']} tasks/s, {failed} failed"
    )
    for name, value in figures["latency_ms"].items():
        print(f"  {name} {value} ms")
    for why, count in outcome.failures.most_common(10):
        print(f"  {count} x {why}")
    for thing in left:
        print(f"  left behind: {thing}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
