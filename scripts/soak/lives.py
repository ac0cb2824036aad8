"""Run many container lives through a node daemon, straight over ttrpc, and say what leaked and how memory went.

    python -m scripts.soak.lives --mode shared --lives 50000

Every other life is a wasm module's, the others are native. A pod ends after so many lives and another begins, and
each end checks that no process, mount, cgroup or folder of the pod is left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from devtools import leaks
from devtools.bundle import Bundle, make_bundle
from devtools.containerd import HOSTS, SHARED, WASMTIME, Containerd, running_containerd
from devtools.daemon import Daemon
from devtools.folders import remove_folder
from devtools.places import BIN, SESSION_VARIABLE, WASI_DEMO_APP
from scripts.bench.pod import Shim, read_answer, run_task

MODES = {"normal": WASMTIME, "shared": SHARED}
_AT_ONCE = 4
_CALL_SECONDS = 20
_MEMBERS = ("Private_Clean", "Private_Dirty")
_KEPT = ("/containerd --config", "/manager/manager.sock")
_WARM = 2  # pods, after which the daemon has everything it needs


class Bed(NamedTuple):
    """The surroundings of the pods: a containerd that takes their events, a daemon, a folder."""

    containerd: Containerd
    daemon: Daemon
    folder: Path
    session: str


class Reading(NamedTuple):
    """The daemon after so many lives: its private memory in KiB, and its descriptors."""

    lives: int
    memory: int
    descriptors: int


def main() -> int:
    given = _arguments()
    session = f"lives{uuid.uuid4().hex[:6]}"
    os.environ[SESSION_VARIABLE] = session
    folder = Path(tempfile.mkdtemp(prefix=f"{session}-"))
    before = leaks.take(session)
    try:
        readings, leaked = _in_bed(folder, session, given)
    finally:
        remove_folder(folder)
    leaked += leaks.since(before, session)
    for line in leaked:
        print(f"left behind: {line}", file=sys.stderr)
    grown = growth(readings, given.grace)
    print(
        f"{given.mode}: {readings[-1].lives} lives, {len(leaked)} things left behind, {verdict(readings, grown)}"
    )
    return 1 if leaked or grown else 0


def _in_bed(folder: Path, session: str, given: argparse.Namespace) -> tuple[list[Reading], list[str]]:
    daemon = Daemon(folder)
    os.environ |= daemon.environment
    try:
        with running_containerd(folder / "containerd", HOSTS["1.6"], namespace=session) as containerd:
            return _live(Bed(containerd, daemon, folder, session), given)
    finally:
        daemon.stop()


def _live(bed: Bed, given: argparse.Namespace) -> tuple[list[Reading], list[str]]:
    bundles = [
        make_bundle(bed.folder / "native", ["true"]),
        make_bundle(
            bed.folder / "wasm", ["/app.wasm", "exit", "0"], files={"app.wasm": WASI_DEMO_APP.read_bytes()}
        ),
    ]
    readings: list[Reading] = []
    leaked: list[str] = []
    lived, pods, started = 0, 0, time.monotonic()
    before = leaks.take(bed.session)
    while lived < given.lives:
        pods += 1
        count = min(given.pod, given.lives - lived)
        _pod(bed, MODES[given.mode], bundles, f"{bed.session}-{pods}", count)
        lived += count
        leaked += [line for line in leaks.since(before, bed.session, but=_KEPT) if line not in leaked]
        if pods >= _WARM:
            readings.append(_reading(bed.daemon.pid, lived))
        if lived // given.report > (lived - count) // given.report or lived == given.lives:
            rate = lived / (time.monotonic() - started)
            print(
                f"{given.mode} {_reading(bed.daemon.pid, lived)} {rate:.1f}/s leaks {len(leaked)}", flush=True
            )
    # on a busy machine a server may take longer to end than we wait after each pod: what is gone now has not leaked
    still = leaks.since(before, bed.session, but=_KEPT)
    return readings or [_reading(bed.daemon.pid, lived)], [line for line in leaked if line in still]


def _pod(bed: Bed, runtime: str, bundles: list[Bundle], pod: str, count: int) -> None:
    """Start a pod, and have so many containers live in it, some at a time."""
    folder = bed.folder / pod
    folder.mkdir()
    os.mkfifo(folder / "log")
    reader = os.open(folder / "log", os.O_RDONLY | os.O_NONBLOCK)
    (folder / "config.json").write_bytes((bundles[0].path / "config.json").read_bytes())
    shim = Shim(*read_answer(start(bed, runtime, folder, pod)), _CALL_SECONDS)
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda n: _worker(shim, bundles, pod, range(n, count, _AT_ONCE)), range(_AT_ONCE)))
    finally:
        # It may be gone before its answer is.
        with contextlib.suppress(EOFError, ConnectionError), shim.connected() as service:
            service.call("Shutdown", id=pod)
        os.close(reader)
        remove_folder(folder)


def start(bed: Bed, runtime: str, folder: Path, pod: str) -> str:
    """Start a shim as containerd does; return what it printed."""
    address = str(bed.containerd.address)
    _, _, name, version = runtime.split(".")
    flags = ["-namespace", bed.session, "-address", address, "-publish-binary", "/bin/true", "-id", pod]
    done = subprocess.run(
        [BIN / f"containerd-shim-{name}-{version}", *flags, "start"],
        cwd=folder,
        env=bed.containerd.environment() | {"TTRPC_ADDRESS": f"{address}.ttrpc"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_CALL_SECONDS,
        check=True,
    )
    return done.stdout.strip()


def _worker(shim: Shim, bundles: list[Bundle], pod: str, numbers: range) -> None:
    with shim.connected() as service:
        for number in numbers:
            run_task(service, f"{pod}-{number}", bundles[number % len(bundles)].path)


def _reading(pid: int, lives: int) -> Reading:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    memory = sum(int(words[1]) for words in lines if words[0].removesuffix(":") in _MEMBERS)
    return Reading(lives, memory, len(os.listdir(f"/proc/{pid}/fd")))


def growth(readings: list[Reading], grace: int) -> str:
    """Return what grew: compares the least of the last quarter with the most of the first, as both have noise."""
    quarter = max(1, len(readings) // 4)
    first, last = readings[:quarter], readings[-quarter:]
    grown = []
    if min(r.memory for r in last) > max(r.memory for r in first) + grace:
        grown.append("memory")
    if min(r.descriptors for r in last) > max(r.descriptors for r in first):
        grown.append("descriptors")
    return " and ".join(grown)


def verdict(readings: list[Reading], grown: str) -> str:
    """Put the first and the last reading of the daemon into words."""
    first, last = readings[0], readings[-1]
    memory = f"{first.memory} KiB after {first.lives} lives and {last.memory} KiB after {last.lives}"
    return f"daemon of {memory}" + (f": its {grown} grew" if grown else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.soak.lives",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--mode", choices=sorted(MODES), default="shared", help="who serves the pods (%(default)s)"
    )
    parser.add_argument("--lives", type=int, default=10_000, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--pod", type=int, default=250, metavar="N", help="lives of one pod (%(default)s)")
    parser.add_argument(
        "--report", type=int, default=2500, metavar="N", help="lives between lines (%(default)s)"
    )
    parser.add_argument(
        "--grace", type=int, default=512, metavar="KiB", help="growth that is noise (%(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
