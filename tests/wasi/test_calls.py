"""Every call of WASI preview 1, made by a module of C with nothing but the call's own interface in between."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

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
    """The guest's root, with links that try to lead out of it."""
    with tempfile.TemporaryDirectory() as parent:
        (Path(parent) / "secret").write_text("not for the guest")
        folder = Path(parent) / "root"
        folder.mkdir()
        yield folder


def call(wasmtime: EngineHost, module: Path, folder: Path, name: str, *args: str, **job: object) -> Completed:
    annotations = {"io.runwasi.preopens": f"/={folder}"}
    env = ["NAME=value", "EMPTY="]
    described: dict[str, object] = {"env": env, "annotations": annotations, **job}
    return wasmtime.run(module, name, *args, stdin="", **described)


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


def test_links_of_the_root_lead_where_a_native_program_would_go(
    wasmtime: EngineHost, module: Path, folder: Path
) -> None:
    (folder / "deep").mkdir()
    (folder / "file").write_text("inside")
    for link, target in (
        ("absolute", "/file"),
        ("deep/absolute", "/file"),
        ("deep/up", "../../../file"),
        ("away", "/"),
        ("deep/away", "/../.."),
    ):
        (folder / link).symlink_to(target)
    done = call(wasmtime, module, folder, "links_in_the_root", annotations={}, root=str(folder))
    assert (done.stdout, done.stderr) == ("passed\n", "")


@pytest.mark.parametrize("address_space", [None, 400 << 20])
@pytest.mark.parametrize(
    "name",
    ["memory_that_grew", "memory_in_pieces", "large_file", "append_moves_to_the_end", "lowest_descriptor"],
)
def test_memory_and_files(
    wasmtime: EngineHost, module: Path, folder: Path, name: str, address_space: int | None
) -> None:
    """With few addresses a memory is moved when it grows."""
    job = {"address_space": address_space} if address_space else {}
    done = call(wasmtime, module, folder, name, **job)
    assert (done.stdout, done.stderr) == ("passed\n", "")


@pytest.mark.parametrize("name", ["memory_at_the_end", "buffer_beyond_the_end"])
def test_a_pointer_out_of_bounds_is_a_trap(
    wasmtime: EngineHost, module: Path, folder: Path, name: str
) -> None:
    done = call(wasmtime, module, folder, name)
    assert (done.stdout, done.returncode) == ("asking\n", 134)
    assert done.stderr.startswith("runwasi: wasm trap: fd_read: pointer out of bounds\nwasm backtrace:\n")


def test_a_listing_in_pieces_has_everything_once(wasmtime: EngineHost, module: Path, folder: Path) -> None:
    for number in range(300):
        (folder / f"file{number}").touch()
    done = call(wasmtime, module, folder, "listing_in_pieces")
    assert (done.stdout, done.stderr) == ("passed\n", "")


def test_a_fifo_is_read_as_one(wasmtime: EngineHost, module: Path, folder: Path) -> None:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    writer = Thread(target=lambda: fifo.write_text("through the fifo"))
    writer.start()
    done = call(wasmtime, module, folder, "fifo")
    writer.join()
    assert (done.stdout, done.stderr) == ("ready\npassed\n", "")


def test_a_signal_ends_a_guest_that_waits_for_the_other_end_of_a_fifo(
    wasmtime: EngineHost, module: Path, folder: Path
) -> None:
    os.mkfifo(folder / "fifo")
    annotations = {"io.runwasi.preopens": f"/={folder}"}
    with wasmtime.running_as_pid_1(module, "fifo", annotations=annotations) as container:
        assert container.end_by(signal.SIGTERM, within=2.0) == 128 + signal.SIGTERM


@pytest.mark.parametrize("name", ["unstable_seek", "unstable_filestat", "unstable_poll", "unstable_others"])
def test_modules_for_the_predecessor_of_preview_1_run(
    wasmtime: EngineHost, module: Path, folder: Path, name: str
) -> None:
    done = call(wasmtime, module, folder, name)
    assert (done.stdout.replace("written\n", ""), done.stderr) == ("passed\n", "")
