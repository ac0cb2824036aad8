"""Features of the wasmtime engine alone: named backtraces, stores with limits, fuel, artefacts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.engines import EngineHost
from devtools.places import ROOT
from runwasi.engines.wasmtime_capi import wat_to_wasm

MIB = 1 << 20
NO_CACHE: dict[str, str] = {}


def binary(path: Path, text: str) -> Path:
    path.write_bytes(wat_to_wasm(f"(module {text})".encode()))
    return path


def artefacts(cache: Path) -> list[Path]:
    return [path for path in (cache / "modules").iterdir() if not path.suffix]


def test_a_trap_has_a_backtrace_of_function_names(wasmtime: EngineHost, guest: Path) -> None:
    lines = wasmtime.run(guest, "trap").stderr.splitlines()
    assert lines[:2] == ["runwasi: wasm trap: wasm `unreachable` instruction executed", "wasm backtrace:"]
    names = [re.sub(r"^ +\d+: (.*) at offset 0x[0-9a-f]+$", r"\1", line) for line in lines[2:]]
    assert names[:5] == ["count_down"] * 4 + ["main"]


def test_a_stack_overflow_is_a_trap(wasmtime: EngineHost, guest: Path) -> None:
    done = wasmtime.run(guest, "overflow")
    assert done.returncode == 134
    assert "call stack exhausted" in done.stderr or "out of bounds memory access" in done.stderr


@pytest.mark.parametrize("cached", [False, True])
def test_fuel_is_used_up(wasmtime: EngineHost, guest: Path, folder: Path, cached: bool) -> None:
    cache = {"cache": str(folder)} if cached else NO_CACHE
    done = wasmtime.run(guest, "spin", annotations={"io.runwasi.fuel": "1000000"}, **cache)
    assert done.returncode == 134
    assert "runwasi: wasm trap: all fuel consumed by WebAssembly" in done.stderr


def test_memory_grows_no_further_than_the_limit_less_the_engines_share(
    wasmtime: EngineHost, guest: Path
) -> None:
    done = wasmtime.run(guest, "grow", memory_limit=64 * MIB)
    assert (done.returncode, done.stdout) == (3, "full at 51 MiB\n")


def test_memory_can_be_bounded_by_annotation(wasmtime: EngineHost, guest: Path) -> None:
    done = wasmtime.run(guest, "grow", memory_limit=64 * MIB, annotations={"io.runwasi.memory.max": "8Mi"})
    assert done.stdout == "full at 7 MiB\n"


def test_a_module_that_begins_beyond_the_limit_is_stopped_with_the_reason(
    wasmtime: EngineHost, folder: Path
) -> None:
    module = folder / "large.wat"
    module.write_text('(module (memory 1000) (func (export "_start")))')
    done = wasmtime.run(module, annotations={"io.runwasi.memory.max": "1Mi"})
    assert done.returncode == 126
    assert "memory minimum size of 1000 pages exceeds memory limits" in done.stderr


def test_a_bound_may_be_changed_while_memory_grows(tmp_path: Path) -> None:
    """As fast as can be: what the library does not promise has to be so in each version of it."""
    program = tmp_path / "program.py"
    program.write_text(_CHANGING_BOUND)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


_CHANGING_BOUND = """
import threading

from runwasi.engines.guest_limits import Limits
from runwasi.engines.wasmtime import CompilerSettings
from runwasi.engines.wasmtime_capi import wat_to_wasm
from runwasi.engines.wasmtime_store import Linker, Store

MODULE = b'''
    (module
        (memory 16)
        (func (export "grow") (local $turns i32)
            (loop $again
                (drop (memory.grow (i32.const 1)))
                (if (i32.gt_u (memory.size) (i32.const 17)) (then unreachable))
                (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $turns) (i32.const 5_000_000))))))'''
engine = CompilerSettings().engine()
store = Store(engine)
bounds = [Limits(memory=16 << 16), Limits(memory=17 << 16)]
store.limit(bounds[0])
store.instantiate(engine.compile(wat_to_wasm(MODULE)), Linker(engine, store))
grown = threading.Event()


def change():
    while not grown.is_set():
        for bound in bounds:
            store.limit(bound)


thread = threading.Thread(target=change)
thread.start()
try:
    store.call("grow")
finally:
    grown.set()
    thread.join()
"""


def test_tables_are_bounded_by_annotation(wasmtime: EngineHost, folder: Path) -> None:
    module = folder / "table.wat"
    module.write_text("""
        (module
          (table $t 1 funcref)
          (func (export "_start")
            (if (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))))
        """)
    assert wasmtime.run(module).returncode == 134
    assert wasmtime.run(module, annotations={"io.runwasi.table.elements.max": "100"}).returncode == 0


@pytest.mark.parametrize("cached", [False, True])
def test_it_runs_where_addresses_are_scarce(
    wasmtime: EngineHost, guest: Path, folder: Path, cached: bool
) -> None:
    cache = {"cache": str(folder)} if cached else NO_CACHE
    assert wasmtime.run(guest, "hello", address_space=400 * MIB, **cache).stdout == "hello\n"


def test_an_artefact_is_made_once_and_used_again(wasmtime: EngineHost, guest: Path, folder: Path) -> None:
    for _ in range(2):
        assert wasmtime.run(guest, "hello", cache=str(folder)).stdout == "hello\n"
    assert len(artefacts(folder)) == 1


def test_settings_that_change_the_code_have_an_artefact_of_their_own(
    wasmtime: EngineHost, guest: Path, folder: Path
) -> None:
    wasmtime.run(guest, cache=str(folder))
    wasmtime.run(guest, cache=str(folder), annotations={"io.runwasi.fuel": "1000000000"})
    assert len(artefacts(folder)) == 2


def test_a_corrupt_artefact_is_made_anew(wasmtime: EngineHost, guest: Path, folder: Path) -> None:
    wasmtime.run(guest, cache=str(folder))
    (artefact,) = artefacts(folder)
    whole = artefact.read_bytes()
    artefact.chmod(0o600)
    artefact.write_bytes(whole[:5000] + os.urandom(5000) + whole[10000:])
    assert wasmtime.run(guest, "hello", cache=str(folder)).stdout == "hello\n"
    assert artefact.read_bytes() == whole


def test_a_fake_proc_in_the_image_is_not_asked_for_the_artefact(
    wasmtime: EngineHost, guest: Path, folder: Path
) -> None:
    descriptors = folder / "root" / "proc" / "self" / "fd"
    descriptors.mkdir(parents=True)
    for number in range(64):
        (descriptors / str(number)).write_bytes(b"what an attacker wants to be mapped as code")
    cache = folder / "cache"
    assert wasmtime.run(guest, "hello", cache=str(cache), root=str(folder / "root")).stdout == "hello\n"


def test_a_module_without_a_memory_is_told_so_when_it_needs_one(wasmtime: EngineHost, folder: Path) -> None:
    module = folder / "module.wat"
    module.write_text("""
        (module
          (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (func (export "_start") (drop (call $yield)) (drop (call $random (i32.const 0) (i32.const 1)))))
        """)
    done = wasmtime.run(module)
    assert done.returncode == 134
    assert done.stderr.startswith("runwasi: wasm trap: random_get: the module exports no memory\n")


def test_a_library_calls_with_its_own_memory(wasmtime: EngineHost, folder: Path) -> None:
    """Each has another text at the same address."""
    write = """
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\\08\\00\\00\\00\\05\\00\\00\\00{text}\\n")
        (func $say (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))))
        """
    library = binary(folder / "lib.wasm", write.format(text="libr") + '(export "say" (func $say))')
    program = binary(
        folder / "app.wasm",
        '(import "lib" "say" (func $lib))'
        + write.format(text="prog")
        + '(func (export "_start") (call $say) (call $lib) (call $say))',
    )
    done = wasmtime.run(program, layers=[str(library)])
    assert (done.returncode, done.stdout) == (0, "prog\nlibr\nprog\n")


def test_a_trap_while_instantiating_is_a_trap(wasmtime: EngineHost, folder: Path) -> None:
    module = folder / "start.wat"
    module.write_text('(module (func $boom unreachable) (start $boom) (func (export "_start")))')
    done = wasmtime.run(module)
    assert done.returncode == 134
    assert "runwasi: wasm trap: wasm `unreachable` instruction executed" in done.stderr


def test_an_invalid_module_is_refused_with_the_place(wasmtime: EngineHost, guest: Path, folder: Path) -> None:
    module = folder / "invalid.wasm"
    code = guest.read_bytes()
    module.write_bytes(code[:3000] + b"\xff" * 16 + code[3016:])
    for cache in (NO_CACHE, {"cache": str(folder / "cache")}):
        done = wasmtime.run(module, **cache)
        assert done.returncode == 126
        assert "at offset 3000: illegal opcode: 0xff" in done.stderr


def test_descriptors_run_out_for_the_guest_alone(wasmtime: EngineHost, guest: Path, folder: Path) -> None:
    (folder / "in").touch()
    done = wasmtime.run(guest, "open-many", f"{folder}/in")
    assert done.returncode == 0
    assert done.stdout.startswith("opened ")


def test_a_relative_path_is_written_in_the_working_directory(
    wasmtime: EngineHost, guest: Path, folder: Path
) -> None:
    assert wasmtime.run(guest, "write", "out", "text", cwd=str(folder)).returncode == 0
    assert (folder / "out").read_text() == "text"


def test_a_link_out_of_a_preopened_folder_leads_nowhere(
    wasmtime: EngineHost, guest: Path, folder: Path
) -> None:
    (folder / "in").mkdir()
    (folder / "secret").write_text("secret")
    (folder / "in" / "link").symlink_to(folder / "secret")
    (folder / "in" / "up").symlink_to("../secret")
    for path in ("/in/link", "/in/up", "/in/../secret"):
        done = wasmtime.run(guest, "cat", path, annotations={"io.runwasi.preopens": f"/in={folder}/in"})
        assert (done.returncode, done.stdout) == (1, "")
