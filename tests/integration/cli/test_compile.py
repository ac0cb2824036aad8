"""`runwasi compile`: what a first start would do, done before."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runtime import Runtime


@pytest.fixture
def modules(folder: Path) -> list[Path]:
    """A text module, the same with a memory, and no module at all."""
    texts = {"plain.wat": "(module)", "memory.wat": "(module (memory 1))", "broken.wasm": "\0asm\1\0\0\0\1"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def compile_them(
    runwasi: Runtime, folder: Path, *words: str | Path, check: bool = True
) -> tuple[int, str, str]:
    done = runwasi("compile", "--cache", folder / "cache", *words, check=check)
    return done.returncode, done.stdout, done.stderr


def test_each_file_is_compiled_once(runwasi: Runtime, folder: Path, modules: list[Path]) -> None:
    plain, memory, _ = modules
    _, first, _ = compile_them(runwasi, folder, plain, memory)
    assert (
        re.sub(r"\d+\.\d", "N", first)
        == f"{plain}: N MiB for wasmtime, N s\n{memory}: N MiB for wasmtime, N s\n"
    )
    _, second, _ = compile_them(runwasi, folder, memory)
    assert second.endswith(" for wasmtime, already there\n")


def test_settings_of_an_annotation_are_compiled_apart(
    runwasi: Runtime, folder: Path, modules: list[Path]
) -> None:
    compile_them(runwasi, folder, "--quiet", modules[0])
    _, output, _ = compile_them(runwasi, folder, "--annotation", "io.runwasi.fuel=1000", modules[0])
    assert "already there" not in output


def test_a_broken_file_is_named_and_those_before_it_are_kept(
    runwasi: Runtime, folder: Path, modules: list[Path]
) -> None:
    status, output, errors = compile_them(runwasi, folder, *modules, check=False)
    assert (status, len(output.splitlines())) == (1, 2)
    assert f"{modules[2]}: the module is malformed" in errors


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_by_name(
    runwasi: Runtime, folder: Path, make: Callable[[Path], None]
) -> None:
    make(folder / "odd")
    _, _, errors = compile_them(runwasi, folder, folder / "odd", check=False)
    assert errors.endswith(f": {folder}/odd: not a regular file\n")


def test_an_unknown_engine_is_refused_with_those_there_are(
    runwasi: Runtime, folder: Path, modules: list[Path]
) -> None:
    status, _, errors = compile_them(runwasi, folder, "--engine", "v8", modules[0], check=False)
    assert status == 1
    assert "there is no engine 'v8'; the engines are wasmtime" in errors
