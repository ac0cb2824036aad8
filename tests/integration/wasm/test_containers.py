"""Wasm containers by the command line: dispatch, limits, endings, refusals, compilation on the first start."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from runwasi.engines.module_cache import DEFAULT_ROOT, LARGE, ModuleCache, cache_key
from runwasi.engines.wasmtime import WasmtimeEngine
from runwasi.engines.wasmtime_capi import wat_to_wasm
from tests.integration.conftest import BundleMaker
from tests.support import wasm
from tests.support.detached import Detached
from tests.support.runtime import Runtime

MIB = 1 << 20
PROMPTLY = 2.0  # seconds; Kubernetes gives 30 before it kills


@pytest.fixture(scope="session")
def guest(session_folder: Path) -> bytes:
    """A module that does what its first argument says."""
    return wasm.guest(session_folder).read_bytes()


def new_to_the_node(module: bytes) -> bytes:
    """The same module with a custom section of random bytes: no cache has it."""
    note = b"\x04note" + os.urandom(16)
    return module + bytes((0, len(note))) + note


def containing(bundle: BundleMaker, module: bytes, *args: str, path: str = "/app.wasm") -> Bundle:
    return bundle([path, *args], files={path.partition("#")[0]: module})


def test_the_first_start_compiles_and_says_nothing_about_it(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, new_to_the_node(guest), "hello")
    for _ in range(2):
        done = runwasi("run", "--bundle", made.path, container_id)
        assert (done.stdout, done.stderr) == ("hello\n", "")


def test_a_large_module_is_compiled_once(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    """Its key is found by a helper of the creating process, unlike that of a small one."""
    padding = b"\x04rest" + bytes(LARGE)
    size = bytes((len(padding) & 0x7F | 0x80, len(padding) >> 7 & 0x7F | 0x80, len(padding) >> 14))
    made = containing(bundle, new_to_the_node(guest + b"\0" + size + padding), "hello")
    artefacts = Path(DEFAULT_ROOT) / "modules"
    before = set(artefacts.iterdir()) if artefacts.exists() else set()
    for _ in range(2):
        done = runwasi("run", "--bundle", made.path, container_id)
        assert (done.stdout, done.stderr) == ("hello\n", "")
    ours = [path for path in set(artefacts.iterdir()) - before if "." not in path.name]
    assert len(ours) == 1


def test_the_artefact_is_mapped_and_cannot_be_written_through_what_is_open(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    container = Detached(runwasi, containing(bundle, guest, "sleep"), container_id)
    container.run()
    process = Path(f"/proc/{container.pid}")
    assert "/modules/" in (process / "maps").read_text()
    opened = [path for path in (process / "fd").iterdir() if "/modules/" in os.readlink(path)]
    assert len(opened) == 1  # the library's, for memories that begin as parts of the artefact
    flags = (process / "fdinfo" / opened[0].name).read_text().split("flags:")[1].split()[0]
    assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY
    assert opened[0].stat().st_mode & 0o222 == 0  # and nobody in there has the call to change that


@pytest.mark.parametrize("status", [3, 200, 255])
def test_the_exit_status_is_the_guests(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str, status: int
) -> None:
    made = containing(bundle, guest, "exit", str(status))
    assert runwasi("run", "--bundle", made.path, container_id, check=False).returncode == status


def test_a_trap_is_told_on_the_containers_stderr(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    done = runwasi("run", "--bundle", containing(bundle, guest, "trap").path, container_id, check=False)
    assert done.returncode == 134
    assert "runwasi: wasm trap: wasm `unreachable` instruction executed" in done.stderr
    assert "count_down at offset 0x" in done.stderr


def test_text_modules_are_run(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    text = b"""(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 7))))"""
    made = containing(bundle, text, path="/app.wat")
    assert runwasi("run", "--bundle", made.path, container_id, check=False).returncode == 7


def test_a_function_is_called_by_name(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, guest, path="/app.wasm#other")
    assert runwasi("run", "--bundle", made.path, container_id).stdout == "other was called\n"


def test_a_module_is_found_in_the_containers_path(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = bundle(["app.wasm", "hello"], files={"/opt/app.wasm": guest})
    made.process["env"] = ["PATH=/bin:/opt"]
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "hello\n"


def test_relative_files_are_those_of_the_working_directory(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = bundle(["/app.wasm", "cat", "in"], files={"/app.wasm": guest, "/srv/in": b"from /srv"})
    made.process["cwd"] = "/srv"
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "from /srv"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("doing", ["spin", "sleep"])
def test_a_signal_ends_it_at_once(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str, doing: str, number: signal.Signals
) -> None:
    container = Detached(runwasi, containing(bundle, guest, doing), container_id)
    container.run()
    before = time.monotonic()
    runwasi("kill", container_id, str(int(number)))
    container.wait()
    assert time.monotonic() - before < PROMPTLY
    assert container.errors == ""


def test_the_memory_limit_stops_the_guests_growth(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, guest, "grow")
    made.linux.setdefault("resources", {})["memory"] = {"limit": 64 * MIB}
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert (done.returncode, done.stdout) == (3, "full at 51 MiB\n")


def test_fuel_runs_out_also_of_a_module_that_is_new(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, new_to_the_node(guest), "spin")
    made.config["annotations"] = {"io.runwasi.fuel": "1000000"}
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 134
    assert "all fuel consumed" in done.stderr


def test_a_pids_limit_that_leaves_enough_threads_is_kept(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = bundle(["/app.wasm", "cat", "/in"], files={"/app.wasm": guest, "/in": b"read"})
    made.linux.setdefault("resources", {})["pids"] = {"limit": 2}
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "read"


def test_a_pids_limit_that_leaves_too_few_is_refused(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, guest, "hello")
    made.linux.setdefault("resources", {})["pids"] = {"limit": 1}
    done = runwasi("create", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode != 0
    assert "pids limit is 1, but its engine needs 2 threads" in done.stderr


def test_a_read_only_root_is_told_as_one(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, guest, "write", "/out", "text")
    made.config["root"]["readonly"] = True
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert (done.returncode, done.stderr) == (1, "/out: Read-only file system\n")


@pytest.mark.parametrize("cwd", ["/", "/usr"])
def test_links_lead_where_a_native_program_of_the_container_would_go(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str, cwd: str
) -> None:
    made = bundle(["/app.wasm", "cat", "/usr/link"], files={"/app.wasm": guest, "/etc/motd": b"welcome"})
    rootfs = made.path / "rootfs"
    (rootfs / "usr").mkdir(exist_ok=True)
    (rootfs / "usr/link").symlink_to("/usr/up")
    (rootfs / "usr/up").symlink_to("../../../etc/motd")
    made.process["cwd"] = cwd
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "welcome"
    made.process["args"] = ["/app.wasm", "cat", "/usr/../../etc/motd"]
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "welcome"


def test_a_user_without_processes_left_is_told_so(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, guest, "hello")
    made.process["user"] = {"uid": 54321, "gid": 54321}
    made.process["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}]
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert (done.returncode, done.stdout) == (126, "")
    assert "cannot start a thread" in done.stderr


def test_an_address_space_limit_is_kept(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    made = containing(bundle, guest, "hello")
    made.process["rlimits"] = [{"type": "RLIMIT_AS", "soft": 512 * MIB, "hard": 512 * MIB}]
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "hello\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\0asm", "the module is truncated: it has 4 bytes"),
        (b"\0asm\2\0\0\0", "the module has version 0x2"),
        (b"\0asm\1\0\0\0\1\xff\1", "the module is truncated: 255 bytes are missing at its end"),
        (b'(module (func (export "_start") (i32.cons 1)))', "unknown operator or unexpected token"),
        (b'(module (import "env" "f" (func)) (func (export "_start")))', "it imports the function env.f"),
        (b'(module (func (export "run")))', "it exports no function _start (it exports run)"),
        (b'(module (func (export "_start") (i32.add)))', "type mismatch"),
        (b"\x7fELF not quite", None),
        (b"neither this nor that", "not an ELF file, a script, or WebAssembly (starts with 6e 65 69"),
    ],
)
def test_a_refusal_fails_create_with_its_reason(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, content: bytes, why: str | None
) -> None:
    made = containing(bundle, content)
    command = "create" if why else "run"  # what looks like a program is the kernel's to refuse
    done = runwasi(command, "--bundle", made.path, container_id, check=False)
    assert done.returncode != 0
    assert (why or "xec format error") in done.stderr
    assert runwasi("list", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '(module (import "wbg" "run" (func)) (func (export "_start")))',
            "it imports the function wbg.run, which is not provided (wasm-bindgen",
        ),
        (
            '(component (import "wasi:cli/stdin@0.3.0" (instance)))',
            "it imports wasi:cli/stdin@0.3.0, which is not provided (WASI 0.3 is not",
        ),
        (
            '(component (import "acme:own/world" (instance)) (export "acme:own/api" (instance 0)))',
            "it imports acme:own/world, which is not provided",
        ),
    ],
    ids=["module", "WASI 0.3", "another world"],
)
def test_unknown_imports_are_refused_before_compilation(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, text: str, why: str
) -> None:
    module = new_to_the_node(wat_to_wasm(text.encode()))
    done = runwasi("create", "--bundle", containing(bundle, module).path, container_id, check=False)
    assert done.returncode != 0
    assert why in done.stderr
    assert not _was_compiled(module)


def test_a_module_is_compiled_into_the_cache_before_it_runs(
    runwasi: Runtime, bundle: BundleMaker, guest: bytes, container_id: str
) -> None:
    module = new_to_the_node(guest)
    runwasi("run", "--bundle", containing(bundle, module, "hello").path, container_id)
    assert _was_compiled(module)


def _was_compiled(module: bytes) -> bool:
    return ModuleCache().holds(cache_key(module, WasmtimeEngine().compatibility_key()))


def test_an_artefact_in_an_image_is_never_run(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """A .cwasm is an ELF file of another machine type: nothing executes it."""
    from runwasi.engines.wasmtime import CompilerSettings
    from runwasi.engines.wasmtime_capi import wat_to_wasm

    artefact = CompilerSettings().engine().artefact(wat_to_wasm(b'(module (func (export "_start")))'))
    done = runwasi(
        "run", "--bundle", containing(bundle, artefact, path="/app.cwasm").path, container_id, check=False
    )
    assert done.returncode != 0
    assert "xec format error" in done.stderr
