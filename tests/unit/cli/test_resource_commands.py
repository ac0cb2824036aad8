"""Limits spelt as options."""

from __future__ import annotations

import pytest

from runwasi.cli.options import UsageError
from runwasi.cli.resource_commands import size_in_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("-1", -1),
        ("1b", 1),
        ("64k", 65536),
        ("64KB", 65536),
        ("64KiB", 65536),
        ("32M", 32 << 20),
        ("1.5g", 3 << 29),
        ("1 GiB", 1 << 30),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
    ],
)
def test_sizes_are_powers_of_two(text: str, size: int) -> None:
    assert size_in_bytes("memory", text) == size


@pytest.mark.parametrize("text", ["", "k", "-5", "12x", "1kk", "1e400", "0x10", "1,5m", "nan", "infk", "+1"])
def test_an_invalid_size_names_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"invalid value for memory: .* is not a size in bytes"):
        size_in_bytes("memory", text)
