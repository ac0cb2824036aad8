"""Every member of config.json is refused when it is wrong, and the error names its path.

The cases are made from the records' own annotations, walked along a document that has every member.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.oci.decode import SpecError, decode
from runwasi.oci.encode import to_json
from runwasi.oci.record import Record, json_name, members_of, required_of
from runwasi.oci.spec import Spec
from tests.unit.oci.full_config import full_config


class Place(NamedTuple):
    """One value of the document and the text of the type it must have."""

    steps: tuple[str | int, ...]
    annotation: str
    required: bool

    @property
    def path(self) -> str:
        """The JSON path, as errors write it."""
        return "$" + "".join(
            s if isinstance(s, str) else f"[{s}]" for s in map(_step, self.steps, self.kinds())
        )

    def kinds(self) -> list[bool]:
        """Tell for each step whether it is a key of a map rather than a member of a record."""
        return [step in _MAP_KEYS for step in self.steps]


_MAP_KEYS = {"org.example.key", "eth0", "net.ipv4.ip_forward", "mlx5_1", "memory.high"}


def _step(step: str | int, map_key: bool) -> str | int:
    if isinstance(step, int):
        return step
    return f'["{step}"]' if map_key else f".{step}"


def _places(record_type: type[Record], document: dict[str, Any], steps: tuple[str | int, ...]) -> list[Place]:
    scope = sys.modules[record_type.__module__].__dict__
    found = []
    for member, annotation in members_of(record_type).items():
        name = json_name(record_type, member)
        if name not in document and steps and steps[-1] in range(1, 99):
            continue  # the first item of an array has every member
        found += _places_of(
            annotation, document[name], (*steps, name), member in required_of(record_type), scope
        )
    return found


def _places_of(
    annotation: str, value: Any, steps: tuple[str | int, ...], required: bool, scope: dict[str, Any]
) -> list[Place]:
    annotation = annotation.removesuffix(" | None")
    resolved = scope.get(annotation)
    if isinstance(resolved, str):
        annotation = resolved
    places = [Place(steps, annotation, required)]
    if annotation.startswith("tuple["):
        inner = annotation.removeprefix("tuple[").removesuffix(", ...]")
        for index, item in enumerate(value):
            places += _places_of(inner, item, (*steps, index), False, scope)
    elif annotation.startswith("Mapping["):
        inner = annotation.removeprefix("Mapping[str, ").removesuffix("]")
        for key, item in value.items():
            places += _places_of(inner, item, (*steps, key), False, scope)
    elif isinstance(resolved, type):
        places += _places(resolved, value, steps)
    return places


PLACES = _places(Spec, full_config(), ())
INTEGERS = [place for place in PLACES if place.annotation.startswith("Annotated[int")]
CHOICES = [place for place in PLACES if place.annotation.startswith("Literal")]
REQUIRED = [place for place in PLACES if place.required]


def _accepts(annotation: str) -> type:
    """The Python type of the JSON values a place takes."""
    if annotation == "bool":
        return bool
    if annotation.startswith("Annotated[int"):
        return int
    if annotation == "str" or annotation.startswith(("Literal", "Annotated[str")):
        return str
    return list if annotation.startswith("tuple[") else dict


_any_json = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def refused(place: Place, value: Any) -> str:
    """Put a value at a place of the full document and return the path of the error."""
    document = full_config()
    target: Any = document
    for step in place.steps[:-1]:
        target = target[step]
    target[place.steps[-1]] = value
    with pytest.raises(SpecError) as caught:
        decode(Spec, document)
    return caught.value.path


def test_the_full_document_is_accepted_and_written_back_as_it_was() -> None:
    assert to_json(decode(Spec, full_config())) == full_config()


@given(st.data())
def test_a_wrong_type_anywhere_is_refused_with_its_path(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(PLACES))
    value = data.draw(_any_json.filter(lambda value: type(value) is not _accepts(place.annotation)))
    if value == "" and not place.required and place.annotation.startswith(("Literal", "Annotated[str")):
        return
    assert refused(place, value) == place.path


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)
def test_each_member_refuses_each_other_type(place: Place) -> None:
    values: list[Any] = [True, 7, 0.5, "text", [], {}]
    for value in values:
        if type(value) is not _accepts(place.annotation):
            assert refused(place, value) == place.path, value


@pytest.mark.parametrize("place", INTEGERS, ids=lambda place: place.path)
def test_each_integer_is_refused_outside_its_range(place: Place) -> None:
    least, most = map(int, place.annotation.removesuffix("]").split(", ")[1:])
    assert refused(place, least - 1) == place.path
    assert refused(place, most + 1) == place.path
    assert refused(place, 10**4000) == place.path


@pytest.mark.parametrize("place", CHOICES, ids=lambda place: place.path)
def test_each_enumeration_refuses_other_words(place: Place) -> None:
    assert refused(place, "unheard-of") == place.path


@pytest.mark.parametrize("place", REQUIRED, ids=lambda place: place.path)
@pytest.mark.parametrize("null", [False, True], ids=["left out", "null"])
def test_each_required_member_is_missed(place: Place, null: bool) -> None:
    document = full_config()
    target: Any = document
    for step in place.steps[:-1]:
        target = target[step]
    if null:
        target[place.steps[-1]] = None
    else:
        del target[place.steps[-1]]
    with pytest.raises(SpecError, match="is required") as caught:
        decode(Spec, document)
    assert caught.value.path == place.path


@pytest.mark.parametrize(
    "place", [place for place in PLACES if _accepts(place.annotation) is str], ids=lambda place: place.path
)
def test_no_string_may_hold_a_nul_or_half_a_character(place: Place) -> None:
    assert refused(place, "/a\0b") == place.path
    assert refused(place, "/\ud800") == place.path
