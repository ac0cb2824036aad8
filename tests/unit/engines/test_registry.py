from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from devtools.places import ROOT
from runwasi.engines import registry

EXAMPLE = EntryPoint("mud", "tests.unit.engines.test_registry:Plugged", registry.ENTRY_POINTS)


class Plugged:
    """Stands for another package's engine."""


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_entry_points", lambda: EntryPoints((EXAMPLE,)))


@pytest.mark.parametrize("name", ["wasmtime", "wasmedge", "wasmer"])
def test_our_engines_are_made_by_name(name: str) -> None:
    assert registry.load(name).name == name


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        registry.UnknownEngine, match="there is no engine 'v8'; the engines are wasmtime, wasmedge, wasmer"
    ):
        registry.load("v8")


@pytest.mark.usefixtures("plugged_in")
def test_engines_of_other_packages_are_found_by_their_entry_point() -> None:
    assert registry.names() == ("wasmtime", "wasmedge", "wasmer", "mud")
    assert type(registry.load("mud")).__name__ == "Plugged"


def test_names_are_those_containerd_looks_for() -> None:
    assert registry.runtime_name("wasmtime") == "io.containerd.wasmtime.v1"
    assert registry.runtime_name("wasmtime", shared=True) == "io.containerd.wasmtimed.v1"
    assert registry.shim_name("wasmedge") == "containerd-shim-wasmedge-v1"
    assert registry.shim_name("wasmedge", shared=True) == "containerd-shim-wasmedged-v1"
    assert registry.daemon_name("wasmer") == "containerd-wasmerd"


@pytest.mark.usefixtures("plugged_in")
@pytest.mark.parametrize(
    ("program", "engine"),
    [
        ("containerd-shim-wasmtime-v1", ("wasmtime", False)),
        ("containerd-shim-wasmtimed-v1", ("wasmtime", True)),
        ("containerd-shim-mud-v1", ("mud", False)),
        ("containerd-shim-mudd-v1", ("mud", True)),
        ("containerd-shim-wasmtime-v2", None),
        ("runwasi", None),
    ],
)
def test_a_shims_name_tells_its_engine(program: str, engine: tuple[str, bool] | None) -> None:
    assert registry.engine_of_shim(program) == engine


def test_the_seam_costs_no_import_that_a_start_would_feel() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules);"
        "from runwasi.engines import engine, registry, module_cache, layer_choice;"
        "from runwasi.engines.wasm import sniff;"
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT)]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "typing",
        "dataclasses",
        "pathlib",
        "logging",
        "re",
        "json",
        "enum",
        "ctypes",
        "hashlib",
        "contextlib",
    }
    assert not heavy & set(imported)
