"""Reading JSON that may be anything."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.oci.decode import (
    MAX_SIZE,
    MOST_OBJECTS,
    SpecError,
    decode,
    decode_document,
    parse_json,
    read_document,
    read_json,
)
from runwasi.oci.encode import dumps
from runwasi.oci.resources import Resources
from runwasi.oci.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_values)
def test_the_standard_librarys_json_is_read_alike(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(_values, st.sampled_from(["", " ", "\t", "    "]))
def test_the_standard_library_reads_our_json(value: Any, indent: str) -> None:
    assert json.loads(dumps(value, indent)) == value


@pytest.mark.parametrize("indent", [2, 4])
def test_indented_output_looks_like_the_standard_librarys(indent: int) -> None:
    value = {"a": [1, {"b": []}], "c": {}, "d": "é\n"}
    assert dumps(value, " " * indent) == json.dumps(value, indent=indent, ensure_ascii=False)


@given(st.binary())
def test_any_bytes_are_json_or_refused_at_the_root(data: bytes) -> None:
    try:
        expected = json.loads(data.decode(), parse_constant=int)  # int("NaN") is a ValueError
    except ValueError:
        with pytest.raises(SpecError) as caught:
            parse_json(data)
        assert caught.value.path == "$"
    else:
        assert parse_json(data) == expected


@given(st.integers(min_value=0))
def test_every_truncation_is_refused(cut: int) -> None:
    whole = b'{"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "list": [1, 2.5, true, null]}'
    with pytest.raises(SpecError, match="is not JSON"):
        parse_json(whole[: cut % len(whole)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON: no value at the end of the text"),
        (b"{", "is not JSON: .*at the end of the text"),
        (b'{"a": 1,\n "b" 2}', "is not JSON: .*at line 2 column 6"),
        (b"nul", "is not JSON: no value at line 1 column 1"),
        (b"{} {}", "is not JSON: more text after the value at line 1 column 4"),
        (b"NaN", "is not JSON: JSON has no number NaN"),
        (b"[1, -Infinity]", "JSON has no number -Infinity"),
        (b"\xff{}", "is not UTF-8 at byte 0"),
        (b'{"a": "\xc3"}', "is not UTF-8 at byte 7"),
        ("\ufeff{}".encode(), "is not JSON"),
        (b"[" * 200_000, "is nested too deeply"),
        (b'{"a":' * 200_000, "is nested too deeply"),
        (b"1" * 5000, "is not JSON: a number has too many digits"),
        (b'"\x01"', "is not JSON"),
        (b" " * (MAX_SIZE + 1), "is larger than 4 MiB"),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_the_error_says_what_and_where(text: bytes, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        parse_json(text)
    assert caught.value.path == "$"


def test_the_last_of_two_equal_keys_counts() -> None:
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


def test_a_file_is_read_whole_but_not_without_end(tmp_path: Path) -> None:
    file = tmp_path / "document.json"
    file.write_bytes(b"[" + b"1," * 500_000 + b"1]")
    assert len(read_json(str(file))) == 500_001
    assert len(read_document("/dev/zero")) == MAX_SIZE + 1


def test_only_a_regular_file_is_read_where_one_is_asked_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (f"{tmp_path}/fifo", str(tmp_path), "/dev/zero"):
        with pytest.raises(OSError, match=f"not a regular file: '{path}'"):
            read_document(path, regular=True)


def test_a_document_of_a_file_is_refused_by_the_files_name() -> None:
    with pytest.raises(SpecError, match=r"^/x\.json: \$: is not JSON"):
        decode_document(Resources, b"{", "/x.json")
    with pytest.raises(SpecError, match=r"^/x\.json: \$\.cpu\.cpus: must be a string"):
        decode_document(Resources, b'{"cpu": {"cpus": 1}}', "/x.json")


def test_a_missing_file_is_an_os_error_and_leaks_nothing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        read_json(str(tmp_path / "none"))
    with pytest.raises(IsADirectoryError):
        read_json(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_array_of_too_many_objects_is_refused_before_they_are_read() -> None:
    document = {"ociVersion": "1.0.2", "mounts": [{}] * (MOST_OBJECTS + 1)}
    with pytest.raises(
        SpecError, match=f"has {MOST_OBJECTS + 1} objects, more than {MOST_OBJECTS}"
    ) as caught:
        decode(Spec, document)
    assert caught.value.path == "$.mounts"
