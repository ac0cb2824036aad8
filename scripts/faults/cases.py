"""Lists the commands that faults are injected into: how each begins, and how to see that it did what it says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from devtools.bundle import Bundle, make_bundle
from devtools.places import BIN, WASI_DEMO_APP
from devtools.waiting import until
from scripts.faults import warm

RUNWASI = BIN / "runwasi"
CASES = ("create", "run", "start", "exec", "update", "delete")
LIMIT = "64"
ENDED = "the program has ended"
_SECONDS = 30

# All that a process can see of how it is confined, but for numbers that differ from one container to the next.
LOOK = r"""
sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]* //; s/ master:[0-9]*//; s/ shared:[0-9]*//' /proc/self/mountinfo | sort
grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups)' /proc/self/status | grep -v Seccomp_filters
hostname; pwd; ulimit -n; ulimit -u; umask; cat /proc/self/oom_score_adj
for kind in net ipc uts pid mnt; do
    [ "$(readlink /proc/self/ns/$kind)" = "$(cat /out/host-$kind)" ] || echo own $kind
done
ls /dev; ls -l /proc/self/fd | wc -l
"""


class Refused(Exception):
    """A command without a fault in it failed, with these words."""


class Machine:
    """A state root and the bundles, in a folder whose name every path and cgroup of the session has."""

    def __init__(self, folder: Path, session: str) -> None:
        self.folder = folder
        self.session = session
        self.root = folder / "root"
        self.console = folder / "console.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.console))
        self._listener.listen(64)
        self._listener.setblocking(False)
        warm.load()

    def close(self) -> None:
        """Close the console's socket."""
        self._listener.close()

    def command(self, *words: str | Path) -> list[str]:
        """Return a command line of ours."""
        return [str(RUNWASI), "--root", str(self.root), *map(str, words)]

    def must(self, *words: str | Path) -> None:
        """Run a command that has no fault in it. Raises Refused, TimeoutExpired."""
        done = self.run(*words)
        if done.returncode:
            raise Refused(done.stderr.strip())

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command that has no fault in it. Raises TimeoutExpired."""
        output, errors = self.folder / "stdout-of-ours", self.folder / "stderr-of-ours"
        command = self.command(*words)
        status = warm.run(command[1:], output, errors, _SECONDS)
        said = (path.read_text(errors="replace") for path in (output, errors))
        return subprocess.CompletedProcess(command, status, *said)

    def drop_consoles(self) -> None:
        """Hang up every terminal that was sent."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            _, descriptors, _, _ = socket.recv_fds(connection, 1024, 8)
            for descriptor in descriptors:
                os.close(descriptor)
            connection.close()

    def has_left(self, container: str) -> list[str]:
        """Return what there is of a container: state, cgroups, mounts."""
        left = [str(path) for path in self.root.glob("*")] if self.root.is_dir() else []
        roots = (*Path("/sys/fs/cgroup").glob("*/"), Path("/sys/fs/cgroup"))
        left += [str(path) for root in roots if (path := root / self.session / container).is_dir()]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return left + [line for line in mounts if str(self.folder) in line]


class Case(NamedTuple):
    """A command, and how to judge it."""

    name: str
    words: Callable[[str], list[str]]
    prepare: Callable[[str], None]
    outcome: Callable[[str], str]
    """The effect of a success, as text: the same each time, or the success is a lie."""


class Kind:
    """A sort of container, with its cases."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.out = machine.folder / f"out-{name}"
        _prepare(self.out)
        self._looking = _bundle(machine, name, self.out, f"{name}-looking", idle=False)
        self._idle = _bundle(machine, name, self.out, f"{name}-idle", idle=True)

    def cases(self) -> list[Case]:
        """Return every command's case."""
        looking, idle = str(self._looking.path), str(self._idle.path)
        console = ["--console-socket", str(self.machine.console)] if self.name == "terminal" else []

        def made(bundle: str, command: str, *options: str) -> Callable[[str], list[str]]:
            return lambda container: [command, *options, "--bundle", bundle, *console, container]

        def create(container: str) -> None:
            self.machine.must(*made(looking, "create")(container))

        def run(container: str) -> None:
            self.machine.must(*made(idle, "run", "--detach")(container))

        return [
            Case("create", made(looking, "create"), lambda _: None, self._seen_after_start),
            Case("run", made(looking, "run", "--detach"), lambda _: None, self._seen),
            Case("start", lambda container: ["start", container], create, self._seen),
            Case("exec", lambda container: ["exec", container, *self._exec()], run, self._seen_by_exec),
            Case("update", lambda container: ["update", "--pids-limit", LIMIT, container], run, self._limits),
            Case("delete", lambda container: ["delete", "--force", container], run, self._left),
        ]

    def place(self, container: str) -> None:
        """Give the next container a cgroup of its own."""
        for bundle in (self._looking, self._idle):
            bundle.linux["cgroupsPath"] = f"/{self.machine.session}/{container}"
            bundle.write()

    def reset(self) -> None:
        """Forget what the last container has written."""
        for path in (self.out / "seen", self.out / "seen-by-exec", *(self.out / "hooks").iterdir()):
            path.unlink(missing_ok=True)

    def _exec(self) -> list[str]:
        return _looking(self.name, "seen-by-exec", "")

    def _seen_after_start(self, container: str) -> str:
        self.machine.must("start", container)
        return self._seen(container)

    def _seen(self, container: str) -> str:
        return (
            self._text("seen", container)
            + self._limits(container)
            + " ".join(sorted(os.listdir(self.out / "hooks")))
        )

    def _seen_by_exec(self, container: str) -> str:
        return self._text("seen-by-exec", container)

    def _text(self, name: str, container: str) -> str:
        path = self.out / name

        def look() -> str:
            text = path.read_text() if path.exists() else ""
            return text or (ENDED if self.name == "wasm" and self._has_ended(container) else "")

        return until(look, bool, seconds=_SECONDS)

    def _has_ended(self, container: str) -> bool:
        """A module runs in our process: a fault may hit its own calls, once it runs, and it ends as it sees fit."""
        return '"stopped"' in self.machine.run("state", container).stdout

    def _limits(self, container: str) -> str:
        roots = (*Path("/sys/fs/cgroup").glob("*/"), Path("/sys/fs/cgroup"))
        names = (
            "pids.max",
            "memory.max",
            "memory.limit_in_bytes",
            "devices.list",
            "cpu.weight",
            "cpu.shares",
        )
        found = {
            str(path): path.read_text()
            for root in roots
            for name in names
            if (path := root / self.machine.session / container / name).exists()
        }
        return json.dumps(found, sort_keys=True).replace(container, "ID")

    def _left(self, container: str) -> str:
        return "\n".join(self.machine.has_left(container))


def _prepare(out: Path) -> None:
    (out / "hooks").mkdir(parents=True)
    for kind in ("net", "ipc", "uts", "pid", "mnt"):
        (out / f"host-{kind}").write_text(os.readlink(f"/proc/self/ns/{kind}") + "\n")


def _looking(kind: str, name: str, then: str) -> list[str]:
    if kind == "wasm":
        return ["/app.wasm", "write", f"/out/{name}", "done"]
    return ["sh", "-c", f"({LOOK}) > /out/new 2>&1; mv /out/new /out/{name}{then}"]


def _bundle(machine: Machine, kind: str, out: Path, name: str, *, idle: bool) -> Bundle:
    arguments = _looking(kind, "seen", "; exec sleep 1000")
    if idle:
        arguments = ["/app.wasm", "sleep", "1000"] if kind == "wasm" else ["sleep", "1000"]
    files = {"app.wasm": WASI_DEMO_APP.read_bytes()} if kind == "wasm" else {}
    bundle = make_bundle(machine.folder / name, arguments, files=files)
    bundle.process["terminal"] = kind == "terminal"
    bundle.process["oomScoreAdj"] = 100
    bundle.config["root"]["readonly"] = True
    (bundle.rootfs / "out").mkdir()
    bundle.config["mounts"].append(
        {"destination": "/out", "type": "bind", "source": str(out), "options": ["rbind"]}
    )
    bundle.config["hooks"] = {
        point: [{"path": "/bin/busybox", "args": ["busybox", "touch", f"{where}/{point}"]}]
        for point, where in (
            ("createRuntime", out / "hooks"),
            ("createContainer", out / "hooks"),
            ("startContainer", Path("/out/hooks")),
            ("poststart", out / "hooks"),
            ("poststop", out / "hooks"),
        )
    }
    bundle.linux["resources"] = {
        "devices": [{"allow": False, "access": "rwm"}],
        "pids": {"limit": 50},
        "memory": {"limit": 256 << 20},
    }
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["kexec_load", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
    return bundle.write()
