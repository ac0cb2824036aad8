"""All engines behave alike, the example engine included."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from devtools.engines import EngineHost, engine_host

PROMPTLY = 2.0  # seconds; it takes milliseconds, and the machine may be busy


def test_output_and_success(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_argv_is_passed_in_full(engine: EngineHost, guest: Path) -> None:
    arguments = ["args", "a b", "", "--flag=x"]
    done = engine.run(guest, *arguments)
    assert done.stdout.splitlines() == [str(guest), *arguments]


def test_argv_is_utf_8(built_in_engine: EngineHost, guest: Path) -> None:
    assert built_in_engine.run(guest, "args", "ünïcode").stdout.splitlines()[2] == "ünïcode"


def test_the_environment_is_the_containers_alone(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, "env", env=["A=1", "EMPTY=", "URL=a=b=c"])
    assert sorted(done.stdout.splitlines()) == ["A=1", "EMPTY=", "URL=a=b=c"]


@pytest.mark.parametrize("status", [0, 1, 42, 125, 126, 127, 128, 134, 200, 255])
def test_exit_status_is_the_guests(engine: EngineHost, guest: Path, status: int) -> None:
    assert engine.run(guest, "exit", str(status)).returncode == status


def test_exit_status_is_cut_to_a_byte(engine: EngineHost, guest: Path) -> None:
    assert engine.run(guest, "exit", "257").returncode == 1


def test_stderr_is_apart_from_stdout(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, "stderr")
    assert (done.stdout, done.stderr) == ("", "to stderr\n")


def test_stdin_is_read_to_its_end(engine: EngineHost, guest: Path) -> None:
    text = "line\n" * 1000
    assert engine.run(guest, "stdin", stdin=text).stdout == text


def test_files_of_the_root_are_there(engine: EngineHost, guest: Path, folder: Path) -> None:
    (folder / "in").write_text("from the host")
    assert engine.run(guest, "cat", f"{folder}/in").stdout == "from the host"


def test_files_written_are_on_the_host(engine: EngineHost, guest: Path, folder: Path) -> None:
    assert engine.run(guest, "write", f"{folder}/out", "from the guest").returncode == 0
    assert (folder / "out").read_text() == "from the guest"


def test_a_missing_file_is_the_guests_error(engine: EngineHost, guest: Path, folder: Path) -> None:
    done = engine.run(guest, "cat", f"{folder}/none")
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


def test_relative_paths_start_at_the_working_directory(
    built_in_engine: EngineHost, guest: Path, folder: Path
) -> None:
    (folder / "in").write_text("relative")
    assert built_in_engine.run(guest, "cat", "in", cwd=str(folder)).stdout == "relative"
    assert built_in_engine.run(guest, "cat", "./in", cwd=str(folder)).stdout == "relative"


def test_absolute_paths_are_right_in_any_working_directory(
    engine: EngineHost, guest: Path, folder: Path
) -> None:
    (folder / "in").write_text("absolute")
    assert engine.run(guest, "cat", f"{folder}/in", cwd="/usr").stdout == "absolute"


def test_only_the_named_folders_are_there(engine: EngineHost, guest: Path, folder: Path) -> None:
    (folder / "in").write_text("text")
    annotations = {"io.runwasi.preopens": f"/here={folder}"}
    assert engine.run(guest, "cat", "/here/in", annotations=annotations).stdout == "text"
    assert engine.run(guest, "cat", "/etc/passwd", annotations=annotations).returncode == 1


def test_nothing_of_the_host_is_needed_once_the_root_is_entered(
    engine: EngineHost, guest: Path, folder: Path
) -> None:
    (folder / "tmp").mkdir(mode=0o1777)
    (folder / "tmp" / "in").write_text("inside")
    assert engine.run(guest, "cat", "/tmp/in", root=str(folder)).stdout == "inside"
    assert engine.run(guest, "trap", root=str(folder)).returncode == 134


def test_a_trap_says_why_and_ends_with_134(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, "trap")
    assert done.returncode == 134
    assert "runwasi: wasm trap: " in done.stderr


def test_another_function_is_called_by_name(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, function="other")
    assert (done.returncode, done.stdout) == (0, "other was called\n")


def test_a_missing_function_is_refused_with_those_there_are(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, function="nope")
    assert done.returncode == 126
    assert "exports no function nope" in done.stderr
    assert "other" in done.stderr


def test_a_function_with_parameters_is_refused(engine: EngineHost, guest: Path) -> None:
    assert "its function add takes 2 arguments" in engine.run(guest, function="add").stderr


REACTOR = """
    (module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\\10\\00\\00\\00\\05\\00\\00\\00\\15\\00\\00\\00\\04\\00\\00\\00init\\nrun\\n")
      (func $say (param i32) (drop (call $write (i32.const 1) (local.get 0) (i32.const 1) (i32.const 64))))
      (func (export "_initialize") (call $say (i32.const 0)))
      (func (export "run") (result i32) (call $say (i32.const 8)) (i32.const 7)))
    """


def test_a_reactor_is_initialized_and_that_is_all(engine: EngineHost, folder: Path) -> None:
    module = folder / "reactor.wat"
    module.write_text(REACTOR)
    done = engine.run(module)
    assert (done.returncode, done.stdout, done.stderr) == (0, "init\n", "")


def test_a_reactor_is_initialized_before_its_function_is_called(engine: EngineHost, folder: Path) -> None:
    module = folder / "reactor.wat"
    module.write_text(REACTOR)
    done = engine.run(module, function="run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "init\nrun\n", "")


def test_text_modules_run(engine: EngineHost, folder: Path) -> None:
    module = folder / "exit.wat"
    module.write_text("""\
        ;; asks for one thing only
        (module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (func (export "_start") (call $exit (i32.const 7))))
        """)
    assert engine.run(module).returncode == 7


def test_broken_text_is_refused_with_its_line(engine: EngineHost, folder: Path) -> None:
    module = folder / "broken.wat"
    module.write_text('(module\n  (func (export "_start") (i32.con 1)))\n')
    done = engine.run(module)
    assert done.returncode == 126
    assert ":2:" in done.stderr


def test_a_truncated_module_is_refused(engine: EngineHost, guest: Path, folder: Path) -> None:
    module = folder / "truncated.wasm"
    module.write_bytes(guest.read_bytes()[:1000])
    done = engine.run(module)
    assert done.returncode == 126
    assert "CannotHandle: the module is truncated" in done.stderr


def test_an_import_that_nobody_provides_is_named(engine: EngineHost, folder: Path) -> None:
    module = folder / "import.wat"
    module.write_text('(module (import "env" "emscripten_log" (func)) (func (export "_start")))')
    done = engine.run(module)
    assert done.returncode == 126
    assert "imports the function env.emscripten_log, which is not provided" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
@pytest.mark.parametrize("doing", ["spin", "sleep", "read"])
def test_signals_end_the_guest_as_process_1(
    engine: EngineHost, guest: Path, doing: str, number: signal.Signals
) -> None:
    with engine.running_as_pid_1(guest, doing) as container:
        assert container.end_by(number, within=PROMPTLY) == 128 + number


WRITER = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $left i32)
    (i32.store (i32.const 0) (i32.const 16))
    (local.set $left (i32.const 1000000))
    (loop $more
      (i32.store
        (i32.const 4)
        (select (local.get $left) (i32.const 999) (i32.lt_u (local.get $left) (i32.const 999))))
      (drop (call $write (i32.const STREAM) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 8))))
      (br_if $more (local.get $left)))
    END))"""


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize(
    ("end", "status"), [("", 0), ("(call $exit (i32.const 3))", 3), ("unreachable", 134)]
)
def test_all_that_a_guest_wrote_before_its_end_comes_out(
    built_in_engine: EngineHost, folder: Path, end: str, status: int, stream: int
) -> None:
    module = folder / "writer.wat"
    module.write_text(WRITER.replace("END", end).replace("STREAM", str(stream)))
    done = built_in_engine.run(module)
    written = (done.stdout, done.stderr)[stream - 1]
    assert (done.returncode, written.count("\0")) == (status, 1_000_000)


def test_the_time_limit_ends_the_guest(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, "spin", annotations={"io.runwasi.timeout": "0.2"})
    assert done.returncode == 134
    assert "the container ran for longer than it may" in done.stderr


def test_an_annotation_that_makes_no_sense_is_refused(engine: EngineHost, guest: Path) -> None:
    done = engine.run(guest, annotations={"io.runwasi.timeout": "soon"})
    assert done.returncode == 126
    assert "io.runwasi.timeout\"]: 'soon' is not a number of seconds" in done.stderr


def test_a_component_without_a_function_is_refused_by_all(engine: EngineHost, folder: Path) -> None:
    module = folder / "component.wat"
    module.write_text("(component)")
    done = engine.run(module)
    assert done.returncode == 126
    reason = "exports neither" if engine.name == "wasmtime" else "it is a component; "
    assert reason in done.stderr


@pytest.mark.parametrize("name", ["wasmtime", "wasmedge"])
def test_artefacts_behave_as_their_modules(name: str, guest: Path, folder: Path) -> None:
    compiling, cache = engine_host(name), str(folder / "cache")
    for _ in range(2):  # the second from the cache
        assert compiling.run(guest, "exit", "200", cache=cache).returncode == 200
    assert compiling.run(guest, "args", "x", cache=cache).stdout.splitlines()[1:] == ["args", "x"]
    assert compiling.run(guest, "trap", cache=cache).returncode == 134
    assert compiling.run(guest, function="other", cache=cache).stdout == "other was called\n"
