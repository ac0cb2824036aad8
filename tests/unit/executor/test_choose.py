"""can_handle on real files: which of native, wasm and refusal comes out, and in what words."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from runwasi.engines.engine import CannotHandle, Context, Engine, Module, Stdio
from runwasi.engines.layer_choice import Layer
from runwasi.executor.errors import ContainerError
from runwasi.executor.limits.limits_in_force import LimitsInForce
from runwasi.executor.workload.choose import choose, foresee
from runwasi.executor.workload.request import Native, WorkloadRequest
from runwasi.executor.workload.wasm_module import Wasm

ELF = b"\x7fELF" + bytes(60)
WASM = b"\0asm\1\0\0\0"


class AnyEngine(Engine):
    """Accepts everything but a module called refused."""

    name = "any"

    def can_handle(self, ctx: Context) -> bool:
        if "refused" in ctx.module.name:
            raise CannotHandle("imports env.missing, which nobody provides")
        return True

    def run_wasi(self, _ctx: Context, _stdio: Stdio) -> int:
        raise AssertionError("nothing runs here")


class Parent:
    """Answers with the layers it was made with, and counts the questions."""

    def __init__(self, layers: Sequence[Layer] = ()) -> None:
        self.layers = tuple(layers)
        self.limits = LimitsInForce({}, None)
        self.asked = 0

    def engine(self) -> Engine:
        return AnyEngine()

    def fetch_layers(self) -> tuple[Layer, ...]:
        self.asked += 1
        return self.layers

    def fds(self) -> tuple[int, ...]:
        return tuple(layer.fd for layer in self.layers)

    def compiled(self, module: Module, layer: Layer | None = None) -> Module:
        assert layer is None or layer in self.layers
        return module


def put(path: Path, content: bytes, mode: int = 0o755) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def request(*args: str, path: str = "/nowhere", **annotations: str) -> WorkloadRequest:
    named = {key.replace("__", "/").replace("_", "."): value for key, value in annotations.items()}
    return WorkloadRequest(args, [f"PATH={path}"], "/", named)


def test_an_elf_file_and_a_script_are_native(tmp_path: Path) -> None:
    for content in (ELF, b"#!/bin/sh\necho\n"):
        program = put(tmp_path / "program", content)
        chosen = choose(request(program, "an argument"), Parent())
        assert isinstance(chosen, Native)
        assert (chosen.path, chosen.argv) == (program, (program, "an argument"))


def test_wasm_needs_no_execute_bit(tmp_path: Path) -> None:
    chosen = choose(request(put(tmp_path / "app.wasm", WASM, 0o644)), Parent())
    assert isinstance(chosen, Wasm)
    assert chosen.context.function == "_start"


def test_a_name_without_slash_is_searched_in_the_containers_path(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    put(tmp_path / "one/tool", ELF, 0o644)  # there, but not executable
    tool = put(tmp_path / "two/tool", ELF)
    chosen = choose(request("tool", path=f"{tmp_path}/one:{tmp_path}/two"), Parent())
    assert isinstance(chosen, Native)
    assert chosen.path == tool


def test_the_part_after_the_hash_is_the_function(tmp_path: Path) -> None:
    module = put(tmp_path / "app.wasm", WASM)
    chosen = choose(request(f"{module}#greet"), Parent())
    assert isinstance(chosen, Wasm)
    assert chosen.context.function == "greet"


def test_a_file_whose_name_has_a_hash_is_that_file(tmp_path: Path) -> None:
    module = put(tmp_path / "app#1.wasm", WASM)
    chosen = choose(request(module), Parent())
    assert isinstance(chosen, Wasm)
    assert chosen.context.function == "_start"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"MZ\x90\x00", "starts with 4d 5a 90 00"),
        (b"", "the file is empty"),
    ],
)
def test_other_files_are_refused_with_their_first_bytes(tmp_path: Path, content: bytes, words: str) -> None:
    program = put(tmp_path / "program", content)
    with pytest.raises(ContainerError) as caught:
        choose(request(program), Parent())
    assert f"cannot execute {program}: not an ELF file, a script, or WebAssembly" in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_program_is_said_in_the_words_that_scripts_know(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r'exec: "tool": executable file not found in \$PATH'):
        choose(request("tool", path=str(tmp_path)), Parent())
    with pytest.raises(ContainerError, match="no such file or directory"):
        choose(request(f"{tmp_path}/tool"), Parent())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("loop", "too many levels of symbolic links"),
        ("file/x", "not a directory"),
        ("n" * 300, "file name too long"),
        ("loop#function", "too many levels of symbolic links"),
    ],
)
def test_why_a_path_leads_nowhere_is_said(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    put(tmp_path / "file", ELF)
    path = f"{tmp_path}/{name}"
    with pytest.raises(ContainerError) as caught:
        choose(request(path), Parent())
    assert str(caught.value) == f'exec: "{path}": stat {path}: {words}'


@pytest.mark.parametrize("env", [[], ["HOME=/"], ["PATH="]])
def test_without_a_path_no_bare_name_is_found(env: list[str]) -> None:
    with pytest.raises(ContainerError, match=r"executable file not found in \$PATH"):
        choose(WorkloadRequest(["sh"], env, "/", {}), Parent())


@pytest.mark.parametrize("path", [":/nowhere", "folder", "./folder"])
def test_a_program_that_path_finds_below_the_working_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "folder").mkdir()
    put(tmp_path / "tool", ELF)
    put(tmp_path / "folder/tool", ELF)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ContainerError, match="cannot run executable found relative to current directory"):
        choose(request("tool", path=path), Parent())


def test_a_module_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "app.wasm", WASM)
    monkeypatch.chdir(tmp_path)
    for path in ("", ":/nowhere", "/nowhere"):
        chosen = choose(request("app.wasm", path=path), Parent())
        assert isinstance(chosen, Wasm)


def test_a_native_file_without_execute_bit_is_denied(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="permission denied"):
        choose(request(put(tmp_path / "program", ELF, 0o644)), Parent())


def test_a_folder_a_pipe_and_a_socket_are_denied_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "socket"):
        with pytest.raises(ContainerError, match="permission denied"):
            choose(request(str(path)), Parent())


def test_an_annotation_forces_wasm(tmp_path: Path) -> None:
    program = put(tmp_path / "program", ELF)
    forced = request(program, run_oci_handler="wasm")
    with pytest.raises(ContainerError, match="not WebAssembly, which an annotation asks for"):
        choose(forced, Parent())


def test_the_engines_refusal_names_the_program(tmp_path: Path) -> None:
    module = put(tmp_path / "refused.wasm", WASM)
    with pytest.raises(ContainerError, match=r"cannot execute .*refused.wasm: imports env.missing"):
        choose(request(module), Parent())


def test_layers_are_asked_for_only_when_no_file_is_the_program(tmp_path: Path) -> None:
    parent = Parent([Layer("app.wasm", "application/wasm", "sha256:" + "0" * 64, "", 0)])
    choose(request(put(tmp_path / "program", ELF)), parent)
    assert parent.asked == 0
    chosen = choose(request("/app.wasm#greet"), parent)
    assert isinstance(chosen, Wasm)
    assert (chosen.context.module.name, chosen.context.function) == ("app.wasm", "greet")


def test_our_own_program_is_refused_even_through_a_script() -> None:
    with pytest.raises(ContainerError, match="the container runtime's own program"):
        choose(request("/proc/self/exe"), Parent())


def test_a_script_that_leads_to_our_own_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="the container runtime's own program"):
        choose(request(put(tmp_path / "script", b"#!/proc/self/exe -c pass\n")), Parent())


@pytest.mark.parametrize(
    "line", [b"#! \t/proc/self/exe\t-c", b"#!/proc/self/exe\0", b"#!%s/\x0c/../exe", b"#!%s/second"]
)
def test_the_interpreter_of_a_script_is_the_kernels_idea_of_it(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "\x0c").mkdir()
    (tmp_path / "exe").symlink_to("/proc/self/exe")
    put(tmp_path / "second", b"#!/proc/self/exe\n")
    script = put(tmp_path / "script", line.replace(b"%s", os.fsencode(tmp_path)) + b"\n")
    with pytest.raises(ContainerError, match="the container runtime's own program"):
        choose(request(script), Parent())


@pytest.mark.parametrize("line", [b"#!", b"#! \n", b"#!\0", b"#!/no/such/\xff\n", b"#!/proc/self/ex\re\n"])
def test_a_script_that_leads_nowhere_is_the_kernels_to_refuse(tmp_path: Path, line: bytes) -> None:
    assert isinstance(choose(request(put(tmp_path / "script", line)), Parent()), Native)


def test_foresee_resolves_links_inside_the_root(tmp_path: Path) -> None:
    put(tmp_path / "app.wasm", WASM)
    (tmp_path / "link").symlink_to("/app.wasm")  # absolute, and so the container's
    root = os.open(tmp_path, os.O_PATH)
    try:
        assert foresee(request("/link"), root) == "core"
        assert foresee(request("/missing"), root) is None
    finally:
        os.close(root)
