from __future__ import annotations

import os

import pytest

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasip1 import FUNCTIONS, check_interface
from runwasi.engines.wasm.wasm_binary import ModuleInterface, read_interface
from runwasi.engines.wasmtime_capi import wat_to_wasm


def interface_of(text: str) -> ModuleInterface:
    fd = os.memfd_create("module")
    try:
        os.write(fd, wat_to_wasm(text.encode()))
        return read_interface(fd)
    finally:
        os.close(fd)


def importing(module: str, name: str, what: str = "(func)") -> ModuleInterface:
    return interface_of(f'(module (import "{module}" "{name}" {what}) (func (export "_start")))')


def test_every_function_of_preview_1_is_provided() -> None:
    assert len(FUNCTIONS) == 46
    for name in FUNCTIONS:
        check_interface(importing("wasi_snapshot_preview1", name), "_start")


@pytest.mark.parametrize(
    ("module", "name", "provider"),
    [
        ("wasi_snapshot_preview1", "sock_connect", "WasmEdge's socket extension"),
        ("wasi_snapshot_preview1", "fly", "WASI preview 1 has no such function"),
        ("wasi_unstable", "fd_write", "the predecessor of WASI preview 1"),
        ("wasi", "thread-spawn", "wasi-threads"),
        ("wasix_32v1", "fd_dup", "the wasmer engine provides it"),
        ("wasi_ephemeral_nn", "load", "wasi_nn plugin"),
        ("wbg", "__wbindgen_throw", "wasm-bindgen"),
        ("gojs", "runtime.wasmExit", "GOOS=wasip1"),
        ("env", "printf", "undefined symbol"),
        ("acme", "fly", "only wasi_snapshot_preview1 is"),
    ],
)
def test_an_import_that_is_not_provided_is_named_with_who_would(
    module: str, name: str, provider: str
) -> None:
    with pytest.raises(CannotHandle) as refusal:
        check_interface(importing(module, name), "_start")
    assert f"it imports the function {module}.{name}, which is not provided" in str(refusal.value)
    assert provider in str(refusal.value)


def test_only_functions_are_provided() -> None:
    with pytest.raises(CannotHandle, match="imports the memory"):
        check_interface(importing("wasi_snapshot_preview1", "fd_read", "(memory 1)"), "_start")


@pytest.mark.parametrize("also", ["acme", "acme.fly", "fly"])
def test_engines_may_provide_more(also: str) -> None:
    module = "wasi_snapshot_preview1" if also == "fly" else "acme"
    check_interface(importing(module, "fly"), "_start", also_provided={also})


def test_a_missing_function_is_refused_with_those_there_are() -> None:
    with pytest.raises(CannotHandle, match=r"exports no function run \(it exports _start\)"):
        check_interface(interface_of('(module (func (export "_start")))'), "run")


def test_an_export_of_another_kind_is_no_function() -> None:
    with pytest.raises(CannotHandle, match="exports no function at all"):
        check_interface(interface_of('(module (memory (export "_start") 1))'), "_start")


def test_a_long_list_of_exports_is_cut() -> None:
    functions = "".join(f'(func (export "f{number:02}"))' for number in range(30))
    with pytest.raises(CannotHandle, match=r"f00, f01, .* and 10 more"):
        check_interface(interface_of(f"(module {functions})"), "run")


@pytest.mark.parametrize(
    ("exports", "function", "calls"),
    [
        (("_start",), "_start", ("_start",)),
        (("_start", "run"), "run", ("run",)),
        (("_initialize",), "_start", ("_initialize",)),
        (("_initialize", "run"), "_start", ("_initialize",)),
        (("_initialize", "run"), "run", ("_initialize", "run")),
        (("_initialize", "run"), "_initialize", ("_initialize",)),
        (("_initialize", "_start"), "_start", ("_initialize", "_start")),
    ],
)
def test_a_reactors_initialiser_is_called_first(
    exports: tuple[str, ...], function: str, calls: tuple[str, ...]
) -> None:
    functions = "".join(f'(func (export "{name}"))' for name in exports)
    assert check_interface(interface_of(f"(module {functions})"), function) == calls


def test_a_reactor_without_the_function_is_refused() -> None:
    with pytest.raises(CannotHandle, match="exports no function run"):
        check_interface(interface_of('(module (func (export "_initialize")))'), "run")
