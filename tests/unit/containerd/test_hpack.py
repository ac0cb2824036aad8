"""Header compression, held against the examples of RFC 7541."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.containerd import hpack


def test_a_request_with_huffman_text_decodes() -> None:  # appendix C.4.1
    block = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")
    assert hpack.decode(block) == [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ]


def test_a_literal_that_is_never_indexed_decodes() -> None:  # appendix C.2.3
    block = bytes.fromhex("100870617373776f726406736563726574")
    assert hpack.decode(block) == [("password", "secret")]


def test_long_huffman_texts_of_responses_decode() -> None:  # appendix C.6.1
    block = bytes.fromhex(
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3"
    )
    assert dict(hpack.decode(block)) == {
        ":status": "302",
        "cache-control": "private",
        "date": "Mon, 21 Oct 2013 20:13:21 GMT",
        "location": "https://www.example.com",
    }


@given(st.lists(st.tuples(st.text("abc-:", min_size=1), st.text(max_size=300))))
def test_what_we_encode_decodes_to_itself(headers: list[tuple[str, str]]) -> None:
    assert hpack.decode(hpack.encode(headers)) == headers


def test_a_size_update_of_the_dynamic_table_is_passed_over() -> None:
    assert hpack.decode(b"\x20\x88") == [(":status", "200")]


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\xbe", "outside the static table"),
        (b"\x80", "outside the static table"),
        (b"\x10\x05abc", "ends early"),
        (b"\x10", "ends early"),
        (b"\x10\x7f\xff\xff\xff\xff\x0f", "too large"),
        (b"\x10\x82\xff\xff\x00", "printable"),
    ],
)
def test_a_bad_block_is_refused(block: bytes, why: str) -> None:
    with pytest.raises(hpack.HeaderError, match=why):
        hpack.decode(block)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(block: bytes) -> None:
    try:
        hpack.decode(block)
    except hpack.HeaderError:
        pass
