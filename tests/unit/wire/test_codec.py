"""The codec against Google's own, built from the same files."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc_tools
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from hypothesis import given, settings
from hypothesis import strategies as st

from runwasi.wire.codec import (
    BOOL,
    BYTES,
    DOUBLE,
    FIXED64,
    INT,
    INT32,
    MOST_FIELDS,
    STRING,
    UINT,
    Message,
    WireError,
)
from runwasi.wire.messages import bootstrap, cgroups_v2, task, ttrpc, types, well_known

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOS = Path(__file__).parents[3] / "proto"
MODULES = sorted(path.stem for path in PROTOS.glob("*.proto"))

SCALARS = {
    STRING: st.text(max_size=20),
    BYTES: st.binary(max_size=20),
    BOOL: st.booleans(),
    UINT: st.integers(0, 2**32 - 1),
    INT: st.integers(-(2**63), 2**63 - 1),
    INT32: st.integers(-(2**31), 2**31 - 1),
    FIXED64: st.integers(0, 2**64 - 1),
    DOUBLE: st.floats(allow_nan=False),
}


@pytest.fixture(scope="session")
def google_class(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[Message]], Any]:
    """Google's class for one of our message classes."""
    output = tmp_path_factory.mktemp("protos") / "set"
    arguments = [f"-Irunwasi/proto={PROTOS}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    sources = [f"runwasi/proto/{name}.proto" for name in MODULES]
    assert protoc.main(["protoc", *arguments, "--include_imports", f"-o{output}", *sources]) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file:
        pool.Add(file)

    def find(ours: type[Message]) -> Any:
        assert ours.__doc__ is not None
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(ours.__doc__.rstrip(".")))

    return find


def message_classes() -> list[type[Message]]:
    found: list[type[Message]] = []
    for name in [*MODULES, "well_known"]:
        module = importlib.import_module(f"runwasi.wire.messages.{name}")
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type) and value is not Message and value.__module__ == module.__name__
        ]
    return found


def values(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, list):
        return st.lists(values(kind[0]), max_size=3)
    if isinstance(kind, dict):
        ((key, value),) = kind.items()
        return st.dictionaries(values(key), values(value), max_size=1)  # Google does not promise an order
    return SCALARS[kind] if isinstance(kind, str) else messages(kind)


def messages(cls: type[Message]) -> st.SearchStrategy[Message]:
    members = {name: values(kind) for _, name, kind in cls.FIELDS}
    return st.fixed_dictionaries({}, optional=members).map(lambda given: cls(**given))


@pytest.mark.parametrize(
    "cls", message_classes(), ids=lambda cls: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"
)
def test_bytes_are_those_of_googles_codec(
    cls: type[Message], google_class: Callable[[type[Message]], Any]
) -> None:
    google = google_class(cls)

    @settings(max_examples=20, deadline=None)
    @given(messages(cls))
    def check(message: Message) -> None:
        data = message.encode()
        theirs = google.FromString(data)
        assert theirs.SerializeToString(deterministic=True) == data
        assert cls.decode(theirs.SerializeToString()).encode() == data

    check()


@given(st.binary(max_size=64))
def test_any_bytes_give_a_message_or_a_wire_error(data: bytes) -> None:
    for cls in (task.CreateTaskRequest, ttrpc.Request, bootstrap.BootstrapParams, cgroups_v2.Metrics):
        try:
            decoded = cls.decode(data)
        except WireError:
            continue
        assert cls.decode(decoded.encode()) == decoded


@given(messages(task.CreateTaskRequest), st.data())
def test_a_truncated_message_never_reads_beyond_its_end(message: Message, data: st.DataObject) -> None:
    encoded = message.encode()
    cut = data.draw(st.integers(0, len(encoded)))
    with contextlib.suppress(WireError):
        task.CreateTaskRequest.decode(encoded[:cut])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0a", "ends within a number"),
        (b"\x0a\x05ab", "longer than its message"),
        (b"\x0a\x01\xff", "not UTF-8"),
        (b"\x08\x01", "wrong wire type"),
        (b"\x0b", "unknown wire type"),
        (b"\x02\x00", "field number 0"),
        (b"\x80" * 11, "longer than 10 bytes"),
    ],
)
def test_malformed_bytes_are_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        types.Mount.decode(data)


def test_unknown_fields_are_skipped() -> None:
    assert (
        types.Mount.decode(b"\x98\x06\x01\xa2\x06\x02hi" + types.Mount(type="bind").encode()).type == "bind"
    )


def test_a_present_but_empty_message_is_told_from_an_absent_one() -> None:
    assert task.StatsResponse(stats=well_known.Any()).encode() == b"\x0a\x00"
    assert task.StatsResponse.decode(b"\x0a\x00").stats == well_known.Any()
    assert task.StatsResponse().encode() == b""
    assert task.StatsResponse.decode(b"").stats is None


def test_packed_and_unpacked_numbers_read_alike() -> None:
    from runwasi.wire.messages.cgroups_v1 import CPUUsage

    assert CPUUsage.decode(b"\x22\x02\x01\x02").per_cpu == [1, 2]
    assert CPUUsage.decode(b"\x20\x01\x20\x02").per_cpu == [1, 2]


def test_generated_modules_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROTOS.parent / "scripts"))
    monkeypatch.setattr(sys, "argv", ["generate_protos.py", "--check"])
    assert importlib.import_module("generate_protos").main() == 0


@pytest.mark.parametrize("count", [MOST_FIELDS - 1, MOST_FIELDS])
def test_a_message_of_too_many_fields_is_refused(count: int) -> None:
    inner = b"\x0a\x00" * 64
    outer = b"\x1a\x80\x01" + inner  # a rootfs mount whose type is given 64 times
    data = outer * (count // 65) + b"\x1a\x00" * (count % 65)
    if count < MOST_FIELDS:
        task.CreateTaskRequest.decode(data)
    else:
        with pytest.raises(WireError, match="more than 131072 fields"):
            task.CreateTaskRequest.decode(data + b"\x1a\x00")
