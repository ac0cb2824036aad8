"""Runs a wasm and a native container through our shim under a private containerd, and leaves nothing: `make demo`.

Each command is printed as one would type it, then what it printed.
"""

from __future__ import annotations

import os
import shlex
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from devtools import leaks
from devtools.containerd import HOSTS, RUNC, WASMTIME, Containerd, running_containerd
from devtools.folders import remove_folder
from devtools.oci_image import busybox_layer, files_layer, write_image
from devtools.places import SESSION_VARIABLE, WASI_DEMO_APP
from runwasi.cli import oci_tar_builder

_WASM_IMAGE = "localhost/wasi-demo-app:latest"
_NATIVE_IMAGE = "localhost/busybox:latest"
_LAYER_IMAGE = "localhost/wasi-demo-oci:latest"
_TIMED_RUNS = 7


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("make demo makes namespaces and cgroups: run it as root")
    session = f"demo{uuid.uuid4().hex[:6]}"
    os.environ[SESSION_VARIABLE] = session
    before = leaks.take(session)
    folder = Path(tempfile.mkdtemp(prefix=f"{session}-"))
    try:
        with running_containerd(
            folder, HOSTS["1.6"], namespace=session, images=_images(folder)
        ) as containerd:
            _show(containerd)
            _time(containerd)
        with running_containerd(folder, HOSTS["2"], namespace=session) as containerd:
            _show_layers(containerd, folder)
        _show_pod(folder, session)
    finally:
        remove_folder(folder)
    left = leaks.since(before, session)
    if left:
        sys.exit("left behind:\n  " + "\n  ".join(left))
    _say("containerd is stopped; no process, mount, cgroup or folder is left behind.")


def _images(folder: Path) -> list[Path]:
    _say("Two images, made here without a registry: a WebAssembly module, and busybox.")
    wasm, native = folder / "wasm.tar", folder / "native.tar"
    module = {"wasi-demo-app.wasm": WASI_DEMO_APP.read_bytes()}
    write_image(wasm, _WASM_IMAGE, files_layer(module), command=[], entrypoint=["/wasi-demo-app.wasm"])
    write_image(native, _NATIVE_IMAGE, busybox_layer(), command=["/bin/sh"])
    return [wasm, native]


def _show(containerd: Containerd) -> None:
    _say(
        "A private containerd runs both under one runtime: wasmtime runs wasm in the container's own process,"
    )
    _say("and anything else is executed as usual.", gap=False)
    _run(containerd, WASMTIME, _WASM_IMAGE, ["/wasi-demo-app.wasm", "echo", "hello"])
    _run(containerd, WASMTIME, _NATIVE_IMAGE, ["sh", "-c", "echo hello from $(uname) as process $$"])


def _show_layers(containerd: Containerd, folder: Path) -> None:
    _say("On a newer containerd, an image whose only layer is the module: no root filesystem at all.")
    archive = _build(folder, "--name", "wasi-demo-oci")
    containerd.ctr("image", "import", "--all-platforms", archive)
    _run(containerd, WASMTIME, _LAYER_IMAGE, ["/wasi-demo-app.wasm", "echo", "hello from a layer"])
    _say("It was compiled once, and the result lies beside its layer for as long as the image does:")
    for line in containerd.ctr("content", "ls").stdout.splitlines():
        if "\trunwasi.io/precompiled=" in line:
            print(f"  {line.expandtabs(2)}")


def _show_pod(folder: Path, session: str) -> None:
    from scripts.demo_pod import Beside, run_in_pod  # late: grpc and CRI's messages

    _say("One pod, as kubelet would run it, with a wasm OCI artifact and a native container:")
    archive = _build(folder, "--name", "wasi-demo-oci-artifact", "--as-artifact")
    wasm = ["/wasi-demo-app.wasm", "echo", "hello from an artifact"]
    native = ["sh", "-c", "echo hello from $(uname) in the same pod"]
    pod = [
        Beside("localhost/wasi-demo-oci-artifact:latest", archive, wasm),
        Beside(_NATIVE_IMAGE, folder / "native.tar", native),
    ]
    for container, lines in zip(pod, run_in_pod(folder, session, pod), strict=True):
        print(f"\ncontainer of {container.image}: {shlex.join(container.command)}", flush=True)
        print("\n".join(lines))


def _build(folder: Path, *form: str) -> Path:
    archive = folder / f"{form[1]}.tar"
    words = ["--repo", "localhost", "--tag", "latest", *form]
    print(f"\n$ oci-tar-builder {shlex.join(words)} --module wasi-demo-app.wasm", flush=True)
    if oci_tar_builder.main([*words, "--module", str(WASI_DEMO_APP), "--out-path", str(archive)]) != 0:
        sys.exit("the image was not built")
    return archive


def _run(containerd: Containerd, runtime: str, image: str, command: Sequence[str]) -> None:
    arguments = ["run", "--rm", "--runtime", runtime, image, "hello", *command]
    print(f"\n$ ctr {shlex.join(arguments)}", flush=True)
    done = containerd.ctr(*arguments, check=False)
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode != 0:
        sys.exit(f"ctr ended with {done.returncode}; containerd's log:\n{containerd.log.read_text()[-3000:]}")


def _time(containerd: Containerd) -> None:
    _say(f"How long `ctr run --rm` takes, median of {_TIMED_RUNS}, each in turn:")
    cases = {
        "wasm under io.containerd.wasmtime.v1": (
            WASMTIME,
            _WASM_IMAGE,
            ["/wasi-demo-app.wasm", "echo", "hello"],
        ),
        "native under io.containerd.wasmtime.v1": (WASMTIME, _NATIVE_IMAGE, ["true"]),
        "native under io.containerd.runc.v2": (RUNC, _NATIVE_IMAGE, ["true"]),
    }
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(_TIMED_RUNS):
        for case, (runtime, image, command) in cases.items():
            started = time.monotonic()
            containerd.ctr("run", "--rm", "--runtime", runtime, image, "timed", *command)
            seconds[case].append(time.monotonic() - started)
    for case, measured in seconds.items():
        print(f"  {case:40} {statistics.median(measured) * 1000:6.0f} ms")


def _say(sentence: str, *, gap: bool = True) -> None:
    print(("\n" if gap else "") + sentence, flush=True)


if __name__ == "__main__":
    main()
