"""Sets up what the random walk runs on: a containerd, a node daemon, a command line, small file systems for state."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import select
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from devtools import leaks
from devtools.bundle import Bundle, make_bundle
from devtools.containerd import Containerd, Host, remove_namespace_folders
from devtools.daemon import Daemon
from devtools.folders import remove_cgroup, remove_folder
from devtools.places import BIN, WASI_DEMO_APP
from devtools.ttrpc import Peer, task_service
from devtools.waiting import until
from runwasi.linux.mounts import MNT_DETACH, mount, umount
from scripts.soak.model import EventKey

SECONDS = 60
_STATE_SIZE = "size=2m"
_PREFIX = "/tasks/"
_TICK = "while :; do echo tick; sleep 0.5; done"


class Unexpected(Exception):
    """A command or a call answered otherwise than the model says."""


class Bed:
    """Everything that runs beside the containers. A full disk hits `root` and `shim_state`."""

    def __init__(self, folder: Path, session: str, host: Host) -> None:
        self.folder = folder
        self.session = session
        self.root = folder / "root"
        self.shim_state = Path("/run/containerd/wasmtime") / session
        self.bundles = {
            "native": make_bundle(folder / "native", ["sh", "-c", _TICK]),
            "wasm": make_bundle(
                folder / "wasm", ["/app.wasm", "daemon"], files={"app.wasm": WASI_DEMO_APP.read_bytes()}
            ),
        }
        for path in (self.root, self.shim_state):
            path.mkdir(parents=True)
            mount("tmpfs", str(path), "tmpfs", 0, _STATE_SIZE)
        self.daemon = Daemon(folder)
        os.environ |= self.daemon.environment
        self.containerd = Containerd(folder / "containerd", host, namespace=session)
        self.containerd.start()
        self._events = folder / "events"
        self._said = folder / "said"
        self._listener: subprocess.Popen[bytes] | None = None
        self.listen()

    # events

    def listen(self) -> None:
        """Make ctr write down the events; return once it does. Raises AssertionError after a minute."""
        self.stop_listening()
        already = self._events.stat().st_size if self._events.exists() else 0
        with self._events.open("ab") as output:
            self._listener = subprocess.Popen(
                self.containerd.ctr_command("events"),
                env=self.containerd.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
            )

        def told() -> bool:  # nothing says when a subscription begins
            self.containerd.ctr("namespaces", "label", self.session, f"probe={os.urandom(4).hex()}")
            return self._events.stat().st_size > already

        until(told, bool, seconds=SECONDS)

    @property
    def listener_pid(self) -> int:
        """The pid of the ctr that writes the events down."""
        assert self._listener is not None
        return self._listener.pid

    def stop_listening(self) -> None:
        """End the listener, as a containerd that ends does."""
        if self._listener is not None:
            self._listener.kill()
            self._listener.wait()

    def events(self) -> Counter[EventKey]:
        """Return the events of tasks so far, each with how often it came."""
        seen: Counter[EventKey] = Counter()
        for line in self._events.read_text().splitlines():
            # date, time, zone offset, zone name, namespace, topic, fields
            words = line.split(maxsplit=6)
            if len(words) == 7 and words[5].startswith(_PREFIX):
                seen[_key(words[5].removeprefix(_PREFIX), json.loads(words[6]))] += 1
        return seen

    # calls

    def ctr(self, *words: str | Path, fails: bool = False) -> str:
        """Run ctr; return its output. Raises Unexpected unless it succeeds, or with fails unless it fails."""
        done = self.containerd.ctr(*words, check=False, timeout=SECONDS)
        said = done.stdout + done.stderr
        if (done.returncode != 0) != fails:
            raise Unexpected(f"ctr {' '.join(map(str, words))}: {done.returncode}: {said}")
        return said

    def command(self, *words: str | Path, status: int | None = 0) -> str:
        """Run our command line; return its output. Raises Unexpected for another status; None is any but 0."""
        self._said.unlink(missing_ok=True)
        with self._said.open("wb") as said:  # a file of its own, as a container that it makes keeps it open
            done = subprocess.run(
                [BIN / "runwasi", "--root", self.root, *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=SECONDS,
                check=False,
            )
        text = self._said.read_text(errors="replace")
        if done.returncode != status and not (status is None and done.returncode):
            raise Unexpected(f"runwasi {' '.join(map(str, words))}: {done.returncode}: {text}")
        return text

    def shim_call(self, container: str, method: str, **members: Any) -> Any:
        """Call the Task service of a container's server without containerd; return the answer. Raises CallError."""
        state = self.containerd.folder / "state/io.containerd.runtime.v2.task" / self.session / container
        with Peer((state / "address").read_text(), timeout=SECONDS) as peer:
            return task_service(peer).call(method, id=container, **members)

    def server_of(self, container: str) -> int:
        """Return the pid of the server of a container's pod."""
        pid: int = self.shim_call(container, "Connect").shim_pid
        return pid

    def config(self, container: str, kind: str, arguments: list[str] | None, pod: str, memory: int) -> Path:
        """Write a bundle for a container and return its folder; memory is its limit in bytes, 0 for none.

        The container has a cgroup of its own and shares its rootfs. Without arguments it runs until it is killed.
        """
        made = self.bundles[kind]
        bundle = Bundle(self.folder / "bundles" / container, copy.deepcopy(made.config))
        bundle.path.mkdir(parents=True)
        bundle.config["root"] = {"path": str(made.rootfs), "readonly": True}
        bundle.config["annotations"] = {"io.containerd.runc.v2.group": pod}
        bundle.linux["cgroupsPath"] = f"/{self.session}/{container}"
        if arguments:
            bundle.process["args"] = arguments
        if memory:
            bundle.linux["resources"]["memory"] = {"limit": memory}
        return bundle.write().path

    # the daemon

    def drain(self) -> None:
        """Read what the daemon has logged into its `log`, so that its pipe does not fill."""
        stderr = self.daemon.process.stderr
        assert stderr is not None
        while select.select([stderr], [], [], 0)[0] and (line := stderr.readline()):
            self.daemon.log.append(line.decode(errors="replace"))

    def replace_daemon(self) -> None:
        """Kill the daemon and start another."""
        self.daemon.stop(signal.SIGKILL)
        self.daemon = Daemon(self.folder)

    # the end

    def close(self) -> None:
        """End everything, whatever its state."""
        self.stop_listening()
        self.daemon.stop(signal.SIGKILL)  # it would wait for its pods
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self.containerd.stop()
        for state in Path("/sys/fs/cgroup/freezer", self.session).glob("*/freezer.state"):
            state.write_text("THAWED")  # version 1 keeps what is killed while it is frozen
        self._end_processes()
        for path in (self.root, self.shim_state):
            umount(str(path), MNT_DETACH)
        for cgroup in leaks.take(self.session).cgroups:  # also of containers that the model knows nothing of
            remove_cgroup(f"{self.session}/{Path(cgroup).name}")
        remove_namespace_folders(self.session)
        remove_folder(self.folder)

    def _end_processes(self) -> None:
        def strays() -> list[int]:
            return leaks.pids([f"processes: {told}" for told in leaks.take(self.session).processes])

        for pid in strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(strays, lambda pids: not pids, seconds=SECONDS)


def _key(topic: str, fields: dict[str, object]) -> EventKey:
    container = str(fields["container_id"])
    process = str(fields.get("exec_id") or fields.get("id") or "")
    status = fields.get("exit_status", 0) if topic == "exit" else 0
    assert isinstance(status, int)
    return EventKey(topic, container, "" if process == container else process, status)
