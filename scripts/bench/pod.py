"""Runs a pod's shim without containerd, and gives it containers over ttrpc."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

from devtools.ttrpc import Methods, Peer, task_service
from scripts.bench.bed import Bed

_START_SECONDS = 30
_END_SECONDS = 30


class Shim:
    """A started shim of one pod: where it listens, and which version of the task service it has."""

    def __init__(self, address: str, version: str, seconds: float) -> None:
        self._address = address
        self._version = version
        self._seconds = seconds

    @contextlib.contextmanager
    def connected(self) -> Iterator[Methods]:
        """Open a connection of its own."""
        with Peer(self._address, timeout=self._seconds) as peer:
            yield task_service(peer, self._version)


@contextlib.contextmanager
def running_shim(bed: Bed, runtime: str, bundle: Path, *, seconds: float = 20) -> Iterator[Shim]:
    """Start a shim for a pod of this bundle, without creating its task; shut it down in the end."""
    pod = bed.id()
    folder = bed.folder / "pods" / pod
    folder.mkdir(parents=True)
    shutil.copy(bundle / "config.json", folder)
    with _read_log(folder):
        shim = Shim(*read_answer(_start(bed, runtime, folder, pod)), seconds)
        try:
            yield shim
        finally:
            # It may be gone before its answer is.
            with contextlib.suppress(EOFError, ConnectionError), shim.connected() as service:
                service.call("Shutdown", id=pod)


@contextlib.contextmanager
def _read_log(folder: Path) -> Iterator[None]:
    """Make the FIFO of a shim's log as containerd does, since some end without it, and read it to its end."""
    fifo = folder / "log"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    with open(os.open(fifo, os.O_WRONLY), "wb") as held, open(reading, "rb") as log:
        reader = Thread(target=log.read, daemon=True)
        reader.start()
        yield
        held.close()  # the shim's is the last
        reader.join(_END_SECONDS)
        if reader.is_alive():
            raise TimeoutError(f"the shim of {folder} has not ended {_END_SECONDS} s after Shutdown")


def _start(bed: Bed, runtime: str, folder: Path, pod: str) -> str:
    _, _, name, version = runtime.split(".")
    environment = bed.containerd.environment()
    program = shutil.which(f"containerd-shim-{name}-{version}", path=environment["PATH"])
    if program is None:
        raise FileNotFoundError(f"there is no program in PATH of runtime {runtime}")
    address = str(bed.containerd.address)
    flags = ["-namespace", bed.session, "-address", address, "-publish-binary", "/bin/true", "-id", pod]
    done = subprocess.run(
        [program, *flags, "start"],
        cwd=folder,
        env=environment | {"TTRPC_ADDRESS": f"{address}.ttrpc"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


def read_answer(answer: str) -> tuple[str, str]:
    """Return the address and the task service's version that a shim's `start` has printed.

    A plain address is of version 2; since version 3 there is JSON (containerd's core/runtime/v2/README.md).
    """
    if not answer.startswith("{"):
        return answer, "v2"
    parameters = json.loads(answer)
    return str(parameters["address"]), f"v{parameters['version']}"


def run_task(service: Methods, container: str, bundle: Path) -> None:
    """Create, start, wait for and delete a container."""
    service.call("Create", id=container, bundle=str(bundle))
    service.call("Start", id=container)
    status = service.call("Wait", id=container).exit_status
    service.call("Delete", id=container)
    if status != 0:
        raise RuntimeError(f"{container} exited with {status}")
