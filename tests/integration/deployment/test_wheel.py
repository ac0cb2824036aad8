"""The wheel that `pip install .` makes: its programs serve a containerd from an environment of pip's own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.containerd import HOSTS, SHARED, WASMTIME, running_containerd
from devtools.places import ROOT
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.support.node_daemon import running_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devtools.containerd import Containerd

_SHIM = "containerd-shim-wasmtime-v1"


def _build(folder: Path, **environment: str) -> Path:
    """The wheel of this work tree."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "--wheel-dir", folder, ROOT],
        env={**os.environ, **environment},
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(session_folder: Path) -> Path:
    """The folder of the programs of an environment into which pip has put the wheel."""
    folder = session_folder / "environment"
    venv.create(folder)
    wheel = _build(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # What it depends on is this environment's; of ourselves there is nothing in it, a work tree is known by a .pth.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("platlib"))
    return folder / "bin"


@pytest.fixture
def containerd(
    programs: Path, session_name: str, session_folder: Path, busybox_image: Path, demo_image: Path
) -> Iterator[Containerd]:
    """A containerd that finds the environment's programs first."""
    folder = session_folder / tempfile.mkdtemp(prefix="w", dir=session_folder)
    with running_containerd(
        folder, HOSTS["1.6"], namespace=session_name, images=[busybox_image, demo_image], shims=programs
    ) as containerd:
        yield containerd


def test_the_wheel_has_the_client_and_is_of_its_architecture(programs: Path) -> None:
    (wheel,) = programs.parent.glob("*.whl")
    assert wheel.stem.endswith(f"_{os.uname().machine}")
    assert (programs / _SHIM).read_bytes().startswith(b"\x7fELF")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        (about,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        assert b"Root-Is-Purelib: false" in archive.read(about)


def test_pods_start_without_a_daemon(containerd: Containerd, container_id: str) -> None:
    done = containerd.ctr("run", "--rm", "--runtime", WASMTIME, DEMO_IMAGE, container_id, "echo", "from wasm")
    assert done.stdout == "from wasm\n"


def test_the_environments_daemon_serves_its_shims(
    programs: Path,
    containerd: Containerd,
    container_id: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_daemon(folder, monkeypatch, program=programs / "containerd-wasmtimed") as daemon:
        containerd.stop()
        containerd.start()
        with containerd.task(SHARED, BUSYBOX_IMAGE, container_id, "sleep", "1000") as pid:
            assert f"PPid:\t{daemon.pid}\n" in Path(f"/proc/{pid}/status").read_text()


def test_without_a_compiler_the_wheel_is_pure_python(folder: Path) -> None:
    wheel = _build(folder, PATH="/nowhere", CC="")
    assert wheel.stem.endswith("-py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        (shim,) = (name for name in archive.namelist() if name.endswith(f"/scripts/{_SHIM}"))
        assert archive.read(shim).startswith(b"#!python\n")
        assert b"shim.client.python_client" in archive.read(shim)


def test_a_client_that_does_not_compile_fails_the_build(folder: Path) -> None:
    compiler = folder / "cc"
    compiler.write_text("#!/bin/sh\necho client.c: a warning >&2\nexit 1\n")
    compiler.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        _build(folder, CC=str(compiler))
    assert not list(folder.glob("*.whl"))
