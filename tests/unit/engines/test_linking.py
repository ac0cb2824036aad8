"""A program is linked with the wasm layers that it imports, and no others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runwasi.engines.engine import CannotHandle, Module
from runwasi.engines.wasm.linking import import_name, libraries
from runwasi.engines.wasm.wasm_binary import read_interface

Maker = Callable[[str, str], Module]


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Maker]:
    """Compile text and open it as a layer of that title."""
    opened: list[int] = []

    def make(title: str, text: str) -> Module:
        source, binary = tmp_path / "module.wat", tmp_path / title
        source.write_text(f"(module {text})")
        subprocess.run(["wat2wasm", source, "-o", binary], check=True)
        opened.append(os.open(binary, os.O_RDONLY))
        return Module(title, opened[-1])

    yield make
    for fd in opened:
        os.close(fd)


MATH = '(func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)'
IMPORTS_ADD = '(import "math" "add" (func (param i32 i32) (result i32)))'


def names(program: Module, *layers: Module) -> list[str]:
    return [library.name for library in libraries(read_interface(program.fd), layers)]


def test_a_layer_is_imported_by_its_name_without_the_ending() -> None:
    assert [import_name(title) for title in ("math.wasm", "lib/math.wasm", "math")] == ["math"] * 3


def test_only_what_is_imported_is_linked(module: Maker) -> None:
    program, math, other = module("app.wasm", IMPORTS_ADD), module("math.wasm", MATH), module("o.wasm", "")
    assert names(program, other, math) == ["math"]
    assert names(other, math, program) == []


def test_a_library_comes_after_those_it_needs(module: Maker) -> None:
    program = module("app.wasm", '(import "top" "run" (func))')
    top = module("top.wasm", f'{IMPORTS_ADD} (func (export "run"))')
    assert names(program, top, module("math.wasm", MATH)) == ["math", "top"]


def test_layers_that_need_each_other_are_refused(module: Maker) -> None:
    program = module("app.wasm", '(import "one" "f" (func))')
    one = module("one.wasm", '(import "two" "f" (func)) (func (export "f"))')
    two = module("two.wasm", '(import "one" "f" (func)) (func (export "f"))')
    with pytest.raises(CannotHandle, match="one and two need each other"):
        names(program, one, two)


def test_a_missing_export_is_named_with_its_layer(module: Maker) -> None:
    program = module("app.wasm", '(import "math" "subtract" (func))')
    with pytest.raises(
        CannotHandle, match=r"the function subtract from the layer math\.wasm, which does not export it"
    ):
        names(program, module("math.wasm", MATH))
