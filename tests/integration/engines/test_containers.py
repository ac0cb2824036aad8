"""Each engine in real containers, by the command line."""

from __future__ import annotations

import re
from pathlib import Path

from devtools.engines import EngineHost, engine_host
from tests.integration.conftest import BundleMaker
from tests.support.prober import LAST, reached

COMPILING = re.compile(r"^runwasi: compiling .*\n", re.MULTILINE)
"""What a command says on a busy machine, where compiling takes more than a moment."""


def run(
    host: EngineHost, folder: Path, made: Path, container_id: str, engine: str = ""
) -> tuple[int, str, str]:
    command = (
        "--root",
        str(folder / "root"),
        "run",
        "--engine",
        engine or host.name,
        "--bundle",
        str(made),
        container_id,
    )
    done = host.runwasi(*command)
    return done.returncode, done.stdout, COMPILING.sub("", done.stderr)


def test_a_module_runs_in_a_container(
    engine: EngineHost, guest: Path, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    made = bundle(
        ["/app.wasm", "cat", "/etc/motd"], files={"/app.wasm": guest.read_bytes(), "/etc/motd": b"welcome"}
    )
    made.process["user"] = {"uid": 1000, "gid": 1000}
    assert run(engine, folder, made.write().path, container_id) == (0, "welcome", "")


def test_a_guest_finds_no_process_in_proc(
    built_in_engine: EngineHost, prober: Path, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    made = bundle(["/app.wasm", LAST, "/proc", "/host/proc"], files={"/app.wasm": prober.read_bytes()})
    made.config["mounts"] += [
        {"destination": "/host/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
    ]
    status, output, errors = run(built_in_engine, folder, made.write().path, container_id)
    assert (status, errors) == (0, "")
    assert reached(output) == []


def test_a_status_comes_out_of_a_container(
    engine: EngineHost, guest: Path, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    made = bundle(["/app.wasm", "exit", "200"], files={"/app.wasm": guest.read_bytes()})
    assert run(engine, folder, made.path, container_id) == (200, "", "")


def test_a_native_container_needs_no_engine(bundle: BundleMaker, folder: Path, container_id: str) -> None:
    made = bundle(["/bin/echo", "native"])
    lacks_it = engine_host("wasmtime")
    assert run(lacks_it, folder, made.path, container_id, "wasmer") == (0, "native\n", "")


def test_an_engine_that_is_not_installed_is_named_with_its_package(
    guest: Path, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    made = bundle(["/app.wasm"], files={"/app.wasm": guest.read_bytes()})
    status, output, errors = run(engine_host("wasmtime"), folder, made.path, container_id, "wasmer")
    assert (status, output) == (1, "")
    assert "the wasmer engine needs the Python package wasmer-sdk: make install EXTRAS=wasmer" in errors
