"""A component's imports and exports are read as wasm-tools prints them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.images.component import interface_of
from runwasi.images.image_error import ImageError

WASM_TOOLS = Path(sys.executable).with_name("wasm-tools")

TEXT = """
(component
  (import "wasi:io/error@0.2.6" (instance (export "error" (type (sub resource)))))
  (import "plain-name" (func))
  (import "a-module" (core module))
  (import "a-type" (type (sub resource)))
  (component $inner (import "hidden" (func)) (export "hidden-too" (func 0)))
  (import "a-component" (component))
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func $run (canon lift (core func $i "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $exported))
  (export "with-type" (func $run) (func))
  (export "the-module" (core module $m))
)
"""


def assembled(folder: Path, text: str) -> bytes:
    source = folder / "component.wat"
    source.write_text(text)
    subprocess.run([WASM_TOOLS, "parse", source, "-o", folder / "component.wasm"], check=True)
    return (folder / "component.wasm").read_bytes()


def test_names_are_those_of_the_outermost_component(tmp_path: Path) -> None:
    interface = interface_of(assembled(tmp_path, TEXT))
    outer = re.findall(r'^  \((import|export) "([^"]+)"', TEXT, re.MULTILINE)
    assert interface.imports == [name for kind, name in outer if kind == "import"]
    assert interface.exports == [name for kind, name in outer if kind == "export"]


def test_a_section_of_another_length_is_refused(tmp_path: Path) -> None:
    whole = assembled(tmp_path, '(component (import "abc" (func)))')
    at = whole.index(b"\x03abc")
    with pytest.raises(ImageError, match="damaged"):
        interface_of(whole[:at] + b"\x02" + whole[at + 1 :])


@given(st.binary(max_size=60))
def test_any_import_section_is_read_or_refused(body: bytes) -> None:
    try:
        interface_of(b"\0asm\x0d\0\1\0" + bytes((10, len(body))) + body)
    except ImageError:
        pass
