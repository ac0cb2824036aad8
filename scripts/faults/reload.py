"""Fails the system calls of a node daemon that replaces itself in place, with pods of both modes.

A fault must leave one of these: the new program serves all pods; the old one serves them and says in its log why; the
process has ended, then pods of normal mode run on, containerd's `delete` removes all of shared mode's, and pods start
without the daemon. Process 0 is the daemon, 1 the new program that is asked what it understands; the others belong to
the rehearsal of the new daemon.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from devtools import leaks
from devtools.bundle import Bundle, make_bundle
from devtools.containerd import SHARED, WASMTIME, Containerd
from devtools.daemon import Daemon
from devtools.folders import remove_folder
from devtools.places import BIN, WASI_DEMO_APP
from devtools.ttrpc import Methods, Peer, task_service
from devtools.waiting import settled
from runwasi.wire.messages import task_types
from scripts.bench.pod import read_answer, run_task
from scripts.faults.injection import (
    ENDED_PROGRAM,
    KILL,
    KILLED,
    MISSED,
    REFUSED,
    SKIPPED,
    TOLERATED,
    WRONG,
    Fault,
    Outcome,
    error_number,
    mark,
)
from scripts.soak import lives

_SECONDS = 60
_SERVING, _REFUSED = "serving", "cannot be replaced by the program installed now"


class Broken(Exception):
    """Something is not as it should be; the text says what."""


class Pod:
    """A pod with a connection that stays open, and its long-lived containers."""

    def __init__(self, bed: Bed, mode: str, number: int) -> None:
        self.bed = bed
        self.mode = mode
        self.runtime = {"normal": WASMTIME, "shared": SHARED}[mode]
        self.name = f"{bed.session}-{mode}-{number}"
        self.folder = bed.folder / self.name
        self.folder.mkdir()
        os.mkfifo(self.folder / "log")
        self._log = os.open(self.folder / "log", os.O_RDWR | os.O_NONBLOCK)
        (self.folder / "config.json").write_bytes((bed.idle[0].path / "config.json").read_bytes())
        address, version = read_answer(lives.start(bed.lives_bed(), self.runtime, self.folder, self.name))
        self._peer = Peer(address)
        self.tasks: Methods = task_service(self._peer, version)
        self.containers: dict[str, Bundle] = {}

    def begin(self, name: str, bundle: Bundle) -> int:
        """Run a container; return the open Wait call for its end."""
        self.containers[name] = bundle
        self.tasks.call("Create", id=name, bundle=str(bundle.path))
        self.tasks.call("Start", id=name)
        return self.tasks.begin("Wait", id=name)

    def end(self, name: str, waiting: int) -> None:
        """Kill a container, and collect its status by the call that waited. Raises Broken."""
        self.tasks.call("Kill", id=name, signal=9)
        status = self.tasks.collect("Wait", waiting).exit_status
        if status != 137:
            raise Broken(f"{name} ended with {status}")
        self.tasks.call("Delete", id=name)
        del self.containers[name]

    def check(self) -> None:
        """See that every container runs, and that another one can. Raises Broken and what a broken pod raises."""
        for name in self.containers:
            if self.tasks.call("State", id=name).status != task_types.RUNNING:
                raise Broken(f"{name} does not run")

    def close(self) -> None:
        """Close the connection and the log."""
        self._peer.close()
        os.close(self._log)

    def shut_down(self) -> None:
        """End all containers and the pod."""
        for name in list(self.containers):
            self.tasks.call("Kill", id=name, signal=9)
            self.tasks.call("Wait", id=name)
            self.tasks.call("Delete", id=name)
            del self.containers[name]
        with contextlib.suppress(EOFError, ConnectionError):
            self.tasks.call("Shutdown", id=self.name)
        self.close()

    def clean_up(self) -> None:
        """Delete what a dead daemon left of each container, as containerd does. Raises Broken."""
        self._peer.close()
        for name, bundle in self.containers.items():
            done = self.bed.delete(self.runtime, name, bundle, self.folder)
            if done.returncode:
                raise Broken(f"delete of {name} fails: {done.stderr.decode()}")
        os.close(self._log)


class Bed:
    """A daemon, a pod of each mode with a native container and a module, and what they had at rest."""

    def __init__(self, folder: Path, session: str, containerd: Containerd, number: int) -> None:
        self.folder = folder / f"bed-{number}"
        self.folder.mkdir()
        self.session = session
        self.containerd = containerd
        self.number = number
        self._runs = 0
        self.before = leaks.take(session)
        self.idle = [
            self._bundle("native", ["sleep", "1000"]),
            self._bundle("wasm", ["/app.wasm", "sleep", "1000"]),
        ]
        self.short = self._bundle("short", ["true"])
        self.daemon = Daemon(self.folder)
        os.environ |= self.daemon.environment
        self.pods = [Pod(self, mode, number) for mode in ("normal", "shared")]
        for pod in self.pods:
            for kind, bundle in zip(("native", "wasm"), self.idle, strict=True):
                pod.begin(f"{pod.name}-{kind}", bundle)
        self._rest: frozenset[str] | None = None

    @property
    def shared(self) -> Pod:
        """The pod that the daemon serves."""
        return self.pods[1]

    def lives_bed(self) -> lives.Bed:
        """Return what starting a pod needs."""
        return lives.Bed(self.containerd, self.daemon, self.folder, self.session)

    def begin(self) -> tuple[str, int]:
        """Begin a container whose end is waited for."""
        self._runs += 1
        name = f"{self.shared.name}-{self._runs}"
        return name, self.shared.begin(name, self.idle[0])

    def check(self, waited: tuple[str, int]) -> None:
        """See that the daemon serves as if nothing had happened. Raises Broken and what a broken pod raises."""
        for pod in self.pods:
            pod.check()
        self.shared.end(*waited)
        run_task(self.shared.tasks, f"{waited[0]}-short", self.short.path)
        if self._rest is None:
            self._rest = frozenset(self._holdings())
        new = settled(
            lambda: sorted(self._holdings() - (self._rest or set())), lambda left: not left, seconds=15
        )
        if new:
            raise Broken(f"the daemon has more than before: {new}")

    def check_after_end(self) -> None:
        """See that normal mode goes on, that shared mode is cleaned up, and that pods start. Raises Broken."""
        normal, shared = self.pods
        self.daemon.stop()
        normal.check()
        shared.clean_up()
        normal.shut_down()
        cold = Pod(self, "shared", self.number + 1_000_000)
        run_task(cold.tasks, f"{cold.name}-short", self.short.path)
        cold.shut_down()
        left = leaks.since(self.before, self.session)
        if left:
            raise Broken(f"left behind: {left}")

    def close(self) -> None:
        """End all, whatever state it is in."""
        for pod in self.pods:
            with contextlib.suppress(Exception):
                pod.shut_down()
        self.daemon.stop(15)
        for pod in self.pods:
            for name, bundle in pod.containers.items():
                self.delete(pod.runtime, name, bundle, pod.folder)
        remove_folder(self.folder)

    def delete(
        self, runtime: str, name: str, bundle: Bundle, folder: Path
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a shim's `delete` of a container of the pod in a folder."""
        _, _, engine, version = runtime.split(".")
        flags = ["-namespace", self.session, "-address", str(self.containerd.address), "-id", name]
        return subprocess.run(
            [
                BIN / f"containerd-shim-{engine}-{version}",
                *flags,
                "-bundle",
                str(bundle.path),
                "delete",
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )

    def _bundle(self, name: str, arguments: list[str]) -> Bundle:
        files = {"app.wasm": WASI_DEMO_APP.read_bytes()} if name == "wasm" else {}
        return make_bundle(self.folder / name, arguments, files=files)

    def _holdings(self) -> set[str]:
        """Return what the daemon has open, by kinds and their numbers, and its children by their names."""
        pid = self.daemon.pid
        opened: Counter[str] = Counter()
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                opened[os.readlink(entry.path).partition("[")[0]] += 1
        held = {f"{count} of {kind}" for kind, count in opened.items()}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                held.add(f"child {child} {Path(f'/proc/{child}/comm').read_text().strip()}")
        return held


class Reloads:
    """Injects faults into one reload after the other; a new bed follows one that a fault has ended."""

    def __init__(self, folder: Path, session: str, containerd: Containerd, injector: Path) -> None:
        self._folder, self._session, self._containerd = folder, session, containerd
        self._injector = injector
        self._bed: Bed | None = None
        self._beds = 0

    def close(self) -> None:
        """End the bed."""
        if self._bed is not None:
            self._bed.close()
            self._bed = None

    def calls(self) -> dict[int, int]:
        """Reload without a fault; return how many calls each process makes."""
        bed = self._ready()
        waited = bed.begin()
        report = self._trace(bed, ["0", "0", "count"])
        self._await(bed)
        bed.check(waited)
        counts = (line.split() for line in report.splitlines())
        return {int(process): int(calls) for _, process, calls in counts}

    def inject(self, fault: Fault) -> Outcome:
        """Reload with a fault, and judge what came of it."""
        bed = self._ready()
        how = KILL if fault.kind == KILL else str(error_number(fault.kind))
        logged = len(bed.daemon.log)
        report = ""
        try:
            waited = bed.begin()
            report = self._trace(bed, [str(fault.process), str(fault.call), how])
            what = self._what(bed, fault, report, waited)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the outcome
            self.close()
            what = WRONG
            said = f"{report.strip()}: {type(error).__name__}: {error}\n{''.join(bed.daemon.log[logged:])}"
            return Outcome(what, said)
        return Outcome(what, f"{report.strip()}: {''.join(bed.daemon.log[logged:]).strip()}")

    def _what(self, bed: Bed, fault: Fault, report: str, waited: tuple[str, int]) -> str:
        end = self._await(bed)
        if end:
            bed.check(waited)
            if not report:
                return MISSED
            if report.startswith("skipped"):
                return SKIPPED
            return REFUSED if end == _REFUSED else TOLERATED
        bed.check_after_end()
        self.close()
        if fault.kind == KILL and fault.process == 0:
            return KILLED
        if not report.startswith("start"):
            raise Broken("the daemon ended")
        return ENDED_PROGRAM

    def _ready(self) -> Bed:
        if self._bed is None:
            self._beds += 1
            self._bed = Bed(self._folder, self._session, self._containerd, self._beds)
            waited = self._bed.begin()
            self._bed.daemon.reload()  # the first leaves it as all others do
            self._bed.check(waited)
        return self._bed

    def _trace(self, bed: Bed, words: list[str]) -> str:
        reader, writer = os.pipe()
        with open(reader, "rb") as report:
            ours = mark(BIN / "containerd-wasmtimed", "shim")
            command = [str(self._injector), str(writer), *words, ours, "--reload", str(bed.daemon.pid)]
            try:
                subprocess.run(
                    [*command, f'msg="{_SERVING}"'], pass_fds=[writer], check=True, timeout=_SECONDS
                )
            finally:
                os.close(writer)
            return report.read().decode()

    def _await(self, bed: Bed) -> str:
        """Wait for the end of a reload; return the message of it, "" if the daemon has ended."""
        for message in _messages(bed.daemon):
            if message in (_SERVING, _REFUSED):
                return message
        return ""


def _messages(daemon: Daemon) -> Iterator[str]:
    """Yield the messages of the daemon's log as they come, until it ends."""
    while line := daemon.next_line(_SECONDS):
        yield line.partition('msg="')[2].partition('"')[0]
