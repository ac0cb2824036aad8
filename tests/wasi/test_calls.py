"""Every call of WASI preview 1, made by a module of C with nothing but the call's own interface in between."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.engines import Completed, EngineHost, engine_host
from runwasi.engines.wasip1 import FUNCTIONS
from tests.support.wasm import compile_c

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(sorted(HERE.glob("*.c")), tmp_path_factory.mktemp("wasi") / "calls.wasm")


@pytest.fixture(scope="session")
def wasmtime() -> EngineHost:
    return engine_host("wasmtime")


@pytest.fixture
def folder() -> Iterator[Path]:
    """What the guest sees as its root, with links that try to lead out of it."""
    with tempfile.TemporaryDirectory() as parent:
        (Path(parent) / "secret").write_text("not for the guest")
        folder = Path(parent) / "root"
        folder.mkdir()
        yield folder


def call(wasmtime: EngineHost, module: Path, folder: Path, name: str, *args: str) -> Completed:
    annotations = {"io.runwasi.preopens": f"/={folder}"}
    return wasmtime.run(module, name, *args, env=["NAME=value", "EMPTY="], annotations=annotations)


@pytest.mark.parametrize("name", sorted(FUNCTIONS - {"proc_exit"}))
def test_call(wasmtime: EngineHost, module: Path, folder: Path, name: str) -> None:
    done = call(wasmtime, module, folder, name, "second", "")
    assert (done.stdout, done.stderr, done.returncode) == ("passed\n", "", 0)


def test_proc_exit_ends_the_guest_with_its_status(wasmtime: EngineHost, module: Path, folder: Path) -> None:
    assert call(wasmtime, module, folder, "proc_exit").returncode == 77


def test_waiting_for_descriptors(wasmtime: EngineHost, module: Path, folder: Path) -> None:
    assert call(wasmtime, module, folder, "poll_oneoff_descriptors").stdout == "passed\n"


def test_no_path_leads_out_of_the_folder(wasmtime: EngineHost, module: Path, folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "up").symlink_to("..")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "relative").symlink_to("../secret")
    assert call(wasmtime, module, folder, "no_way_out").stdout == "passed\n"
