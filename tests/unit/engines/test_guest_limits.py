from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from runwasi.engines import guest_limits
from runwasi.engines.engine import CannotHandle, Context, Module

MIB = 1 << 20
NONE: Mapping[str, str] = MappingProxyType({})


def context(
    annotations: Mapping[str, str] = NONE, cwd: str = "/", memory_limit: int | None = None
) -> Context:
    named = {f"io.runwasi.{name}": value for name, value in annotations.items()}
    module = Module("m.wasm", -1)
    return Context(["m.wasm"], module, cwd=cwd, memory_limit=memory_limit, annotations=named)


def test_without_annotations_nothing_is_limited() -> None:
    found = guest_limits.limits_of(context())
    assert (found.fuel, found.timeout, found.memory, found.table_elements, found.tables) == (None,) * 5


def test_the_memory_limit_leaves_the_engine_its_share() -> None:
    assert guest_limits.limits_of(context(memory_limit=128 * MIB)).memory == 116 * MIB


def test_a_small_memory_limit_is_halved() -> None:
    assert guest_limits.limits_of(context(memory_limit=16 * MIB)).memory == 8 * MIB


def test_the_memory_limit_can_be_left_to_the_cgroup() -> None:
    assert guest_limits.limits_of(context({"memory.trap": "off"}, memory_limit=128 * MIB)).memory is None


def test_annotations_are_read_with_units() -> None:
    found = guest_limits.limits_of(
        context(
            {
                "fuel": "1000",
                "timeout": "1.5",
                "memory.max": "64Mi",
                "table.elements.max": "100",
                "tables.max": "2",
            }
        )
    )
    assert (found.fuel, found.timeout, found.memory) == (1000, 1.5, 64 * MIB)
    assert (found.table_elements, found.tables) == (100, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fuel", "-1"),
        ("fuel", "lots"),
        ("fuel", ""),
        ("fuel", "99999999999999999999"),
        ("fuel", "9" * 5000),
        ("memory.max", "64MB"),
        ("memory.max", "1.5Gi"),
        ("timeout", "0"),
        ("timeout", "nan"),
        ("timeout", "inf"),
        ("timeout", "soon"),
    ],
)
def test_nonsense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(CannotHandle, match=rf'^\$\.annotations\["io\.runwasi\.{name}"\]: '):
        guest_limits.limits_of(context({name: value}))


def test_the_guest_sees_the_root() -> None:
    assert guest_limits.preopens_of(context()) == (("/", "/"),)


def test_the_working_directory_is_the_first_preopen_by_name_and_the_last_as_dot() -> None:
    first, second, *folders, last = guest_limits.preopens_of(context(cwd="/data"))
    assert (first, second, last) == (("/data", "/data"), ("/", "/"), ("/data", "."))
    assert ("/usr", "/usr") in folders


def test_folders_can_be_chosen() -> None:
    chosen = context({"preopens": "/in=/srv/in,.=/work"})
    assert guest_limits.preopens_of(chosen) == (("/srv/in", "/in"), ("/work", "."))
    assert guest_limits.preopens_of(context({"preopens": ""})) == ()


@pytest.mark.parametrize("value", ["/in", "/in=", "=/srv", "/in=relative"])
def test_a_folder_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(
        CannotHandle, match=r'\$\.annotations\["io.runwasi.preopens"\]: .* is not GUEST=/FOLDER'
    ):
        guest_limits.preopens_of(context({"preopens": value}))
