"""One wasm layer of an image is chosen to run."""

from __future__ import annotations

import pytest

from runwasi.engines.annotations import LAYER
from runwasi.engines.engine import CannotHandle
from runwasi.engines.layer_choice import Layer, choose

COMPONENT = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"


def layer(title: str, digit: str = "1") -> Layer:
    return Layer(title, COMPONENT, "sha256:" + digit * 64, "", 0)


def test_only_layer_runs_whatever_the_command_is_called() -> None:
    only = layer("app.wasm")
    choice = choose([only], "/something-else", {})
    assert choice.program is only
    assert choice.others == ()
    assert choice.function == "_start"


def test_command_may_name_a_function() -> None:
    assert choose([layer("app.wasm")], "/app.wasm#serve", {}).function == "serve"


@pytest.mark.parametrize("arg0", ["b.wasm", "/b.wasm", "./b.wasm", "/opt/b.wasm", "b.wasm#run", "2222222"])
def test_command_names_one_of_several(arg0: str) -> None:
    first, second = layer("a.wasm", "1"), layer("b.wasm", "2")
    choice = choose([first, second], arg0, {})
    assert choice.program is second
    assert choice.others == (first,)


def test_annotation_beats_the_command() -> None:
    first, second = layer("a.wasm", "1"), layer("b.wasm", "2")
    assert choose([first, second], "a.wasm", {LAYER.name: "b.wasm"}).program is second


def test_annotation_that_names_nothing_is_refused_even_for_a_single_layer() -> None:
    with pytest.raises(CannotHandle, match=r"io.runwasi.layer\"\] c.wasm names none .*: a.wasm"):
        choose([layer("a.wasm")], "a.wasm", {LAYER.name: "c.wasm"})


def test_several_layers_and_no_name_is_refused_with_their_names() -> None:
    with pytest.raises(CannotHandle, match=r"command /run names none .*: a.wasm, sha256:2{12}$"):
        choose([layer("a.wasm", "1"), layer("", "2")], "/run", {})


def test_name_that_fits_two_layers_is_refused() -> None:
    with pytest.raises(CannotHandle, match="names 2 wasm layers"):
        choose([layer("x/app.wasm", "1"), layer("y/app.wasm", "2")], "/app.wasm", {})


def test_full_path_tells_equal_last_parts_apart() -> None:
    first, second = layer("x/app.wasm", "1"), layer("y/app.wasm", "2")
    assert choose([first, second], "/y/app.wasm", {}).program is second


def test_empty_command_never_matches_an_untitled_layer() -> None:
    with pytest.raises(CannotHandle):
        choose([layer("", "1"), layer("b.wasm", "2")], "", {})
