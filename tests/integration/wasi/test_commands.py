"""Components for wasi:cli/run, and functions of components called by name."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from devtools.components.build import component
from devtools.engines import engine_host
from devtools.serving import run


def test_arguments_arrive_in_full() -> None:
    assert run("program", "args", "one", "two words", "drei ä").stdout == "one\ntwo words\ndrei ä\n"


def test_the_environment_is_the_containers_alone() -> None:
    assert (
        run("program", "env", env=["NAME=value=with=signs", "EMPTY="]).stdout
        == "NAME=value=with=signs\nEMPTY=\n"
    )


def test_input_and_output_pass_through() -> None:
    text = "line\n" * 50_000
    assert run("program", "cat", stdin=text).stdout == text


def test_failing_ends_with_1_and_complains_on_stderr() -> None:
    result = run("program", "complain")
    assert (result.returncode, result.stderr) == (1, "complaint\n")


def test_files_of_the_container_are_read_and_written(folder: Path) -> None:
    assert run("program", "write", f"{folder}/file", stdin="first\n").returncode == 0
    assert run("program", "write", f"{folder}/file", "a", stdin="second\n").returncode == 0
    assert run("program", "read", f"{folder}/file").stdout == "first\nsecond\n"
    assert run("program", "list", str(folder)).stdout.split() == [".", "..", "file"]


def test_only_the_preopened_folders_are_there(folder: Path) -> None:
    (folder / "file").write_text("abcdef")
    annotations = {"io.runwasi.preopens": f"/data={folder}"}
    assert run("program", "arrange", annotations=annotations).returncode == 0
    assert (folder / "file").read_text() == "abc"
    assert run("program", "list", "/etc", annotations=annotations).returncode == 1


def test_it_runs_without_the_hosts_files(folder: Path) -> None:
    (folder / "file").write_text("in the root\n")
    assert run("program", "read", "/file", root=str(folder)).stdout == "in the root\n"


def test_an_exit_code_of_its_own_passes_in_full() -> None:
    assert run("functions", function="leave").returncode == 200


@pytest.mark.parametrize(("function", "status"), [("greet", 0), ("fail", 1)])
def test_a_function_is_called_by_name(function: str, status: int) -> None:
    assert run("functions", function=function).returncode == status


def test_a_trap_says_where_and_ends_with_134() -> None:
    result = run("functions", function="crash")
    assert result.returncode == 134
    assert result.stderr.startswith(
        "runwasi: wasm trap: wasm `unreachable` instruction executed\nwasm backtrace:\n"
    )
    assert "go_down" in result.stderr


def test_a_missing_function_is_refused_with_those_there_are() -> None:
    result = run("functions", function="grete")
    assert result.returncode == 126
    assert "it exports no function grete; it exports greet, fail, leave, crash, spin, add" in result.stderr


def test_a_function_with_arguments_is_refused() -> None:
    assert "its function add takes arguments" in run("functions", function="add").stderr


def test_a_library_without_run_is_refused_with_its_functions() -> None:
    result = run("functions")
    assert result.returncode == 126
    assert "it exports neither wasi:cli/run nor wasi:http/incoming-handler" in result.stderr
    assert "greet" in result.stderr


def test_an_import_nobody_provides_is_refused_by_name(folder: Path) -> None:
    text = folder / "wants.wat"
    text.write_text('(component (import "acme:db/store@1.0.0" (instance (export "get" (func)))))')
    result = engine_host("wasmtime").run(text)
    assert result.returncode == 126
    assert "it imports acme:db/store@1.0.0, which is not provided (compose it" in result.stderr


def test_a_truncated_component_is_refused(folder: Path) -> None:
    broken = folder / "broken.wasm"
    broken.write_bytes(component("functions").read_bytes()[:-100])
    assert engine_host("wasmtime").run(broken).returncode == 126


def test_fuel_bounds_a_busy_guest() -> None:
    result = run("functions", function="spin", annotations={"io.runwasi.fuel": "1000000"})
    assert result.returncode == 134
    assert "all fuel consumed" in result.stderr


def test_time_bounds_a_busy_guest() -> None:
    assert run("program", "spin", annotations={"io.runwasi.timeout": "0.3"}).returncode == 134


def test_memory_is_bounded_by_the_containers_limit() -> None:
    result = run("program", "grow", "200", memory_limit=64 << 20)
    assert result.returncode == 1
    assert result.stdout.startswith("out of memory after ")
    assert run("program", "grow", "20", memory_limit=64 << 20).stdout == "20 MiB held\n"


@pytest.mark.parametrize("doing", ["spin", "sleep", "wait"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_as_pid_1_whatever_it_does(doing: str, number: signal.Signals) -> None:
    with engine_host("wasmtime").running_as_pid_1(component("program"), doing, "60") as guest:
        assert guest.end_by(number, within=0.5) == 128 + number


@pytest.mark.parametrize("name", ["program", "shell"])
def test_a_folder_that_is_not_there_is_said_to_be(name: str) -> None:
    result = run(name, annotations={"io.runwasi.preopens": "/data=/no/such/folder"})
    assert result.returncode == 126
    assert "cannot open the folder /no/such/folder for the guest" in result.stderr
