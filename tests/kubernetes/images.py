"""The images that the node holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devtools.components.build import component
from devtools.oci_image import busybox_layer, files_layer, write_image
from devtools.places import WASI_DEMO_APP
from runwasi.cli import oci_tar_builder

BUSYBOX = "docker.io/library/busybox:1.36"
DEMO = "localhost/wasi-demo-app:latest"
ARTIFACT = "localhost/wasi-demo-oci-artifact:latest"
HTTP = "localhost/hello:latest"
GUESTS = "localhost/guests:latest"
"""Modules for what ends badly."""

_TRAP = '(module (memory (export "memory") 1) (func (export "_start") unreachable))'
# Takes a page at a time and writes to it; where it gets none it traps.
_GREEDY = """
(module (memory (export "memory") 1)
  (func (export "_start")
    (local $page i32)
    (loop $more
      (local.set $page (memory.grow (i32.const 1)))
      (if (i32.eq (local.get $page) (i32.const -1)) (then unreachable))
      (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
      (br $more))))
"""


def write_images(folder: Path, pause: str) -> list[Path]:
    """Write the archives of all of them."""
    folder.mkdir()
    demo = {"wasi-demo-app.wasm": WASI_DEMO_APP.read_bytes()}
    guests = {"trap.wasm": _module(_TRAP), "greedy.wasm": _module(_GREEDY)}
    files = {
        pause: (busybox_layer(), ["/bin/sleep", "infinity"]),
        BUSYBOX: (busybox_layer(), ["/bin/sh"]),
        DEMO: (busybox_layer(demo), ["/wasi-demo-app.wasm"]),
        HTTP: (files_layer({"hello.wasm": component("hello").read_bytes()}), ["/hello.wasm"]),
        GUESTS: (files_layer(guests), ["/trap.wasm"]),
    }
    archives = []
    for number, (name, (layer, command)) in enumerate(files.items()):
        archive = folder / f"{number}.tar"
        write_image(archive, name, layer, command=command)
        archives.append(archive)
    return [*archives, _write_artifact(folder / "artifact.tar")]


def _write_artifact(archive: Path) -> Path:
    repository, _, name = ARTIFACT.removesuffix(":latest").rpartition("/")
    words = ["--repo", repository, "--tag", "latest", "--name", name, "--as-artifact"]
    assert oci_tar_builder.main([*words, "--module", str(WASI_DEMO_APP), "--out-path", str(archive)]) == 0
    return archive


def _module(text: str) -> bytes:
    command = ["wat2wasm", "--output=-", "-"]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
