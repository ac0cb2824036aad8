"""Header fields that a guest makes: whatever it says, the lines on the wire are these fields and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from runwasi.wasi.component.values import Err
from runwasi.wasi.http.fields import Fields, lines
from tests.fuzz.harness import Pieces, short

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (Err,)


class _Parsed:
    def __init__(self) -> None:
        self.pairs: list[tuple[str, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode(), value))


def run(data: bytes) -> None:
    pieces, fields = Pieces(data), Fields()
    while pieces:
        what, name, value = pieces.number(4), pieces.short().decode("utf-8", "replace"), pieces.short()
        if what == 0:
            fields.append(name, value)
        elif what == 1:
            fields.set(name, [value, value])
        elif what == 2:
            fields.delete(name)
        else:
            Fields.from_list([(name, value)])
    parsed = _Parsed()
    plain = [pair for pair in fields.entries() if pair[0] not in ("content-length", "upgrade")]
    httptools.HttpResponseParser(parsed).feed_data(b"HTTP/1.1 200 OK\r\n" + lines(plain) + b"\r\n")
    seen = [(name, value.rstrip(b" \t")) for name, value in parsed.pairs]
    assert seen == [(name, value.strip(b" \t")) for name, value in plain]


def seeds() -> Iterator[bytes]:
    yield b"\0" + short(b"X-A") + short(b"b")
    yield b"\1" + short(b"x-b") + short(b"a\tb \xff") + b"\2" + short(b"X-B") + short(b"")
    yield b"\3" + short(b"host") + short(b"x") + b"\0" + short(b"a\r\nb") + short(b"")
