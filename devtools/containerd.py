"""Runs a private containerd: its own folders, socket and shims, beside whatever the machine runs."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from devtools.places import BIN, CACHE

_START_SECONDS = 60
_STOP_SECONDS = 60


class Host(NamedTuple):
    """One release of containerd, by the folder that holds its programs."""

    name: str
    programs: Path


HOSTS = {
    "1.6": Host("1.6", Path("/usr/bin")),
    "1.7": Host("1.7", CACHE / "containerd-trixie/usr/bin"),
    "2": Host("2", CACHE / "containerd-sid/usr/bin"),
}

WASMTIME = "io.containerd.wasmtime.v1"
SHARED = "io.containerd.wasmtimed.v1"
RUNC = "io.containerd.runc.v2"

_CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [{disabled}]

[grpc]
  address = "{folder}/containerd.sock"

[debug]
  level = "debug"

[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""
_CRI = "io.containerd.grpc.v1.cri"


class Containerd:
    """A containerd of its own, from start() to stop()."""

    def __init__(
        self,
        folder: Path,
        host: Host,
        *,
        namespace: str,
        cri_config: str | None = None,
        shims: Path = BIN,
    ) -> None:
        self.folder = folder
        self.host = host
        self.namespace = namespace
        self.address = folder / "containerd.sock"
        self.log = folder / "containerd.log"
        self.configuration: Path | None = None
        """A file to start with, instead of the one that start() writes."""
        self._cri_config = cri_config
        self._shims = shims
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The daemon's pid; only between start() and stop()."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the daemon and return when it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.configuration or self._write_configuration()
        with readiness_socket(self.folder / "notify.sock") as ready, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.host.programs / "containerd", "--config", config],
                env=self.environment() | {"NOTIFY_SOCKET": str(self.folder / "notify.sock")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Not a member of the terminal's job: ^C must reach the tests first, which then stop it.
                start_new_session=True,
            )
            self._wait_until(ready)

    def _write_configuration(self) -> Path:
        config = self.folder / "config.toml"
        disabled = "" if self._cri_config else f'"{_CRI}"'
        config.write_text(_CONFIG.format(folder=self.folder, disabled=disabled) + (self._cri_config or ""))
        return config

    def _wait_until(self, ready: socket.socket) -> None:
        try:
            wait_until_ready(ready)
        except TimeoutError:
            self.stop()
            raise RuntimeError(
                f"containerd did not start; its log:\n{self.log.read_text()[-4000:]}"
            ) from None

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop the daemon; its shims and containers go on, as they do for every containerd."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_STOP_SECONDS)
            self._process = None

    def ctr(
        self, *arguments: str | Path, check: bool = True, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run ctr against this daemon, with its output captured as text."""
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            self.ctr_command(*arguments),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **given,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        completed: subprocess.CompletedProcess[str] = done
        return completed

    def ctr_command(self, *arguments: str | Path) -> list[str | Path]:
        """The command line of ctr for this daemon, for those who start it in their own way."""
        return [self.host.programs / "ctr", "-a", self.address, "-n", self.namespace, *arguments]

    def start_ctr(self, *arguments: str | Path, **popen: object) -> subprocess.Popen[str]:
        """Start ctr with pipes to it and leave it running."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            self.ctr_command(*arguments), env=self.environment(), **(pipes | popen)
        )

    @contextlib.contextmanager
    def task(
        self, runtime: str, image: str, container: str, *command: str, options: Sequence[str] = ()
    ) -> Iterator[int]:
        """A container that runs detached, by its pid; killed and removed in the end, whatever it is then."""
        log = self.folder / f"{container}.log"
        log.unlink(missing_ok=True)
        how = ("--detach", "--runtime", runtime, "--log-uri", f"file://{log}")
        self.ctr("run", *how, *options, image, container, *command)
        try:
            yield self.pid_of(container)
        finally:
            self.ctr("task", "kill", "--all", "--signal", "SIGKILL", container, check=False)
            self.ctr("task", "delete", "--force", container, check=False)
            self.ctr("container", "delete", container)

    def output_of(self, container: str) -> str:
        """Return what a container of task() has written so far."""
        return (self.folder / f"{container}.log").read_text()

    def pid_of(self, container: str) -> int:
        """The pid of a task's init, as `ctr task ls` tells it."""
        return int(self._task(container)[1])

    def status_of(self, container: str) -> str:
        """RUNNING, STOPPED, …, as `ctr task ls` tells it."""
        return self._task(container)[2]

    def _task(self, container: str) -> list[str]:
        lines = [line.split() for line in self.ctr("task", "ls").stdout.splitlines()]
        return next(fields for fields in lines if fields and fields[0] == container)

    def import_image(self, archive: Path) -> None:
        """Bring an image archive in."""
        self.ctr("images", "import", archive)

    def environment(self) -> dict[str, str]:
        """The environment of the daemon and of ctr; shims are found in its PATH, and leave no node daemon behind.

        Our own PATH comes last, with whatever programs are to be tried beside ours.
        """
        ours = f"{self._shims}:{BIN}:{self.host.programs}"
        path = f"{ours}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:{os.environ['PATH']}"
        daemon = "managed" if "RUNWASI_DAEMON_SOCKET" in os.environ else "off"
        configuration = str(self.node_configuration)
        return {"RUNWASI_DAEMON": daemon, **os.environ, "PATH": path, "RUNWASI_CONFIG": configuration}

    @property
    def node_configuration(self) -> Path:
        """Return the path that stands for /etc/runwasi/config.toml; the file exists only if a test writes it."""
        return self.folder / "runwasi.toml"


@contextlib.contextmanager
def readiness_socket(path: Path) -> Iterator[socket.socket]:
    """The socket on which a daemon says that it is ready, as it does to systemd (man 3 sd_notify)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(path))
        try:
            yield ready
        finally:
            path.unlink()


def wait_until_ready(ready: socket.socket) -> None:
    """Wait for READY=1 on a readiness socket. Raises TimeoutError."""
    ready.settimeout(_START_SECONDS)
    while b"READY=1" not in ready.recv(4096):
        pass


@contextlib.contextmanager
def running_containerd(
    folder: Path,
    host: Host,
    *,
    namespace: str,
    images: Sequence[Path] = (),
    cri_config: str | None = None,
    shims: Path = BIN,
) -> Iterator[Containerd]:
    """A started containerd that holds the images, stopped in the end."""
    containerd = Containerd(folder, host, namespace=namespace, cri_config=cri_config, shims=shims)
    containerd.start()
    try:
        for image in images:
            containerd.import_image(image)
        yield containerd
    finally:
        containerd.stop()
        remove_namespace_folders(namespace)


def remove_namespace_folders(namespace: str) -> None:
    """Remove the folders named for a containerd namespace, which runtimes make and leave when it is empty.

    Others may use the namespace k8s.io at the same time; what they have in it stays.
    """
    for parent in (
        *Path("/sys/fs/cgroup").glob("*/"),
        Path("/sys/fs/cgroup"),
        *Path("/run/containerd").glob("*/"),
    ):
        with contextlib.suppress(FileNotFoundError):
            try:
                (parent / namespace).rmdir()
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EBUSY} or namespace != "k8s.io":
                    raise
