"""Fixtures for tests on the real kernel: bundles, runtimes, private containerds, and the leak guard."""

from __future__ import annotations

import itertools
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from devtools.bundle import Bundle, make_bundle
from devtools.containerd import HOSTS, RUNC, Containerd, running_containerd
from devtools.daemon import Daemon
from devtools.folders import remove_folder
from devtools.oci_image import busybox_layer, write_image
from devtools.places import BIN, ROOT, WASI_DEMO_APP
from scripts import launchers
from tests.support.leak_guard import _nothing_left_in_the_end, guarded  # noqa: F401  a fixture
from tests.support.mode import MODE, OURS
from tests.support.node_daemon import make_found, running_daemon
from tests.support.root_steps import Root
from tests.support.runtime import Runtime
from tests.support.shim import EventSink, Shim

BUSYBOX_IMAGE = "localhost/busybox:latest"
DEMO_IMAGE = "localhost/wasi-demo-app:latest"


@pytest.fixture(autouse=True)
def _nothing_left_by_the_test(session_name: str) -> Iterator[None]:
    # A containerd that the test restarted is a new process, and Podman's storage mounts itself when it
    # pleases; both go with their own fixtures. What the session's node daemon keeps for a while is its own.
    kept = ("/containerd --config", "/root/overlay (ext4", "/daemon/manager/manager.sock")
    yield from guarded(session_name, but=kept)


@pytest.fixture(scope="session")
def session_folder(session_name: str) -> Iterator[Path]:
    """A folder with a short path, for sockets, that goes with the session."""
    folder = Path(tempfile.mkdtemp(prefix=f"{session_name}-"))
    yield folder
    remove_folder(folder)


@pytest.fixture
def folder(session_folder: Path) -> Iterator[Path]:
    """A fresh folder with a short path for one test."""
    path = Path(tempfile.mkdtemp(dir=session_folder))
    yield path
    remove_folder(path)


@pytest.fixture
def new_id(session_name: str, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Container ids that nobody else on the machine uses."""
    numbers = itertools.count(1)
    name = request.node.name.partition("[")[0].removeprefix("test_")[:40].rstrip("_")
    return lambda: f"{session_name}-{name}-{next(numbers)}"


@pytest.fixture
def container_id(new_id: Callable[[], str]) -> str:
    """One container id that nobody else on the machine uses."""
    return new_id()


BundleMaker = Callable[..., Bundle]


@pytest.fixture
def bundle(folder: Path) -> BundleMaker:
    """Make bundles: bundle(["/bin/true"], files={"/app.wasm": b"..."})."""
    numbers = itertools.count(1)

    def make(
        arguments: Sequence[str], *, files: Mapping[str, bytes] | None = None, busybox: bool = True
    ) -> Bundle:
        return make_bundle(folder / f"bundle{next(numbers)}", arguments, files=files, busybox=busybox)

    return make


@pytest.fixture
def runwasi(folder: Path) -> Iterator[Runtime]:
    """Our command line with a root of its own; what a test leaves in it is deleted."""
    runtime = Runtime("runwasi", folder / "runwasi-root")
    yield runtime
    runtime.clean()


@pytest.fixture(params=["runwasi", "runc"])
def oci_runtime(request: pytest.FixtureRequest, folder: Path) -> Iterator[Runtime]:
    """Our command line and runc's in turn: what both must do alike, so that the test itself is proven too."""
    runtime = Runtime(request.param, folder / "runtime-root")
    yield runtime
    runtime.clean()


@pytest.fixture(scope="session")
def wasi_demo_app() -> bytes:
    """The demo module."""
    return WASI_DEMO_APP.read_bytes()


@pytest.fixture(scope="session")
def busybox_image(session_folder: Path) -> Path:
    """An image archive of busybox."""
    archive = session_folder / "busybox.tar"
    write_image(archive, BUSYBOX_IMAGE, busybox_layer(), command=["/bin/sh"])
    return archive


@pytest.fixture(scope="session")
def demo_image(session_folder: Path, wasi_demo_app: bytes) -> Path:
    """An image archive with the demo module as a file beside busybox."""
    archive = session_folder / "wasi-demo-app.tar"
    layer = busybox_layer({"wasi-demo-app.wasm": wasi_demo_app})
    write_image(archive, DEMO_IMAGE, layer, entrypoint=["/wasi-demo-app.wasm"], command=[])
    return archive


@pytest.fixture(scope="module")
def containerd(
    session_name: str, session_folder: Path, busybox_image: Path, demo_image: Path, shims: Path
) -> Iterator[Containerd]:
    """Debian's containerd 1.6 with both images."""
    yield from _containerd("1.6", session_name, session_folder, [busybox_image, demo_image], shims)


@pytest.fixture(scope="module", params=list(HOSTS))
def each_containerd(
    request: pytest.FixtureRequest,
    session_name: str,
    session_folder: Path,
    busybox_image: Path,
    demo_image: Path,
    shims: Path,
) -> Iterator[Containerd]:
    """containerd 1.6, 1.7 and 2 in turn, each with both images."""
    yield from _containerd(request.param, session_name, session_folder, [busybox_image, demo_image], shims)


def _containerd(
    release: str, session: str, parent: Path, images: Sequence[Path], shims: Path
) -> Iterator[Containerd]:
    folder = Path(tempfile.mkdtemp(prefix="c", dir=parent))
    with running_containerd(
        folder, HOSTS[release], namespace=session, images=images, shims=shims
    ) as containerd:
        yield containerd


@pytest.fixture(scope="session")
def shims(python_clients: Path, _session_daemon: Daemon | None) -> Iterator[Path]:
    """The folder of the shims that a containerd finds, which ask the session's daemon where there is one."""
    with pytest.MonkeyPatch.context() as environment:
        if _session_daemon is not None:
            make_found(_session_daemon, environment)
        yield python_clients if MODE == "normal" else BIN


@pytest.fixture(params=[OURS, RUNC] if MODE == "cold" else [OURS], ids=lambda name: name.split(".")[2])
def shim(request: pytest.FixtureRequest) -> str:
    """Our runtime name and runc's in turn: what both must do alike, so that the test itself is proven too."""
    name: str = request.param
    return name


@pytest.fixture
def sink(folder: Path) -> Iterator[EventSink]:
    """A socket for events in place of containerd's."""
    sink = EventSink(folder / "containerd.sock.ttrpc")
    yield sink
    sink.close()


@pytest.fixture(scope="session")
def python_clients(session_folder: Path) -> Path:
    """The folder of the shims as they are where there is no compiler."""
    folder = session_folder / "python/bin"
    site_packages = sysconfig.get_path("platlib")
    launchers.write(str(folder), os.path.realpath(sys.executable), [str(ROOT), site_packages])
    return folder


@pytest.fixture(scope="session")
def _session_daemon(session_folder: Path) -> Iterator[Daemon | None]:
    """The node daemon that all tests of the session use, in the modes that have one."""
    if MODE == "cold":
        yield None
        return
    daemon = Daemon(session_folder / "daemon")
    yield daemon
    daemon.stop()


@pytest.fixture
def our_shim(
    session_name: str,
    sink: EventSink,
    _session_daemon: Daemon | None,
    python_clients: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shim]:
    """Our shim, driven without containerd; in which way says tests/support/mode.py."""
    if _session_daemon is not None:
        assert _session_daemon.process.poll() is None, "a test killed it: such are marked own_server"
        make_found(_session_daemon, monkeypatch)
    kind = "shared" if MODE == "shared" else "runwasi"
    shim = Shim(kind, session_name, sink, python_clients if MODE == "normal" else None)
    yield shim
    shim.clean()


@pytest.fixture
def daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A node daemon of the test's own, which shims find."""
    with running_daemon(folder, monkeypatch) as daemon:
        yield daemon


@pytest.fixture
def shared_shim(session_name: str, sink: EventSink) -> Iterator[Shim]:
    """Our shim of shared mode, driven without containerd: a node daemon serves its pods where there is one."""
    shim = Shim("shared", session_name, sink)
    yield shim
    shim.clean()


@pytest.fixture(params=["cold", "normal", "shared"])
def any_shim(
    request: pytest.FixtureRequest,
    session_name: str,
    sink: EventSink,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shim]:
    """Our shim in every mode in turn: its pods are served by servers of their own, cold or forked, or by a daemon."""
    with ExitStack() as stack:
        if request.param != "cold":
            stack.enter_context(running_daemon(folder, monkeypatch))
        shim = Shim("shared" if request.param == "shared" else "runwasi", session_name, sink)
        stack.callback(shim.clean)
        yield shim


@pytest.fixture(params=["runwasi", "runc"] if MODE == "cold" else ["runwasi"])
def either_shim(
    request: pytest.FixtureRequest, session_name: str, sink: EventSink, our_shim: Shim
) -> Iterator[Shim]:
    """Our shim and runc's in turn, driven without containerd: what both must do alike."""
    if request.param == "runwasi":
        yield our_shim
        return
    shim = Shim(request.param, session_name, sink)
    yield shim
    shim.clean()


@pytest.fixture
def root(folder: Path) -> Root:
    """A rootfs for the child's steps that make the root."""
    return Root(folder / "bundle")
