"""Header compression of HTTP/2, as much of it as a gRPC client of containerd needs (RFC 7541).

We send every header as a plain literal and tell the server that our dynamic table holds nothing, so neither
side keeps state. What is left to decode is the static table and the Huffman code for printable text: gRPC
percent-encodes whatever else a status message contains.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 7541 appendix A: index 1 first.
_STATIC = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), *((name, "") for name in (
        "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow",
        "authorization", "cache-control", "content-disposition", "content-encoding", "content-language",
        "content-length", "content-location", "content-range", "content-type", "cookie", "date", "etag",
        "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate",
        "proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie",
        "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate",
    )),
)  # fmt: skip

# RFC 7541 appendix B: the code is canonical, so the symbols of each length, in order, are the whole of it.
_SYMBOLS_BY_LENGTH = {
    5: "012aceiost",
    6: " %-./3456789=A_bdfghlmnpru",
    7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: "&*,;XZ",
    10: '!"()?',
    11: "'+|",
    12: "#>",
    13: "\0$@[]~",
    14: "^}",
    15: "<`{",
    19: "\\",
}


class HeaderError(ValueError):
    """The peer's header block is not valid, or uses what we asked it not to."""


def _huffman_codes() -> dict[tuple[int, int], str]:
    """Number the symbols: (length in bits, code) to character."""
    codes = {}
    code = length = 0
    for bits, symbols in _SYMBOLS_BY_LENGTH.items():
        code <<= bits - length
        length = bits
        for symbol in symbols:
            codes[bits, code] = symbol
            code += 1
    return codes


def encode(headers: Iterable[tuple[str, str]]) -> bytes:
    """Encode headers as literals that are never indexed. Source: RFC 7541 section 6.2.3."""
    block = bytearray()
    for name, value in headers:
        block.append(0x10)
        for text in (name.encode(), value.encode()):
            block += _encode_length(len(text)) + text
    return bytes(block)


def _encode_length(length: int) -> bytes:
    """A string's length with a 7-bit prefix, Huffman bit clear. Source: RFC 7541 section 5.1."""
    if length < 0x7F:
        return bytes((length,))
    rest = length - 0x7F
    encoded = bytearray((0x7F,))
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def decode(block: bytes) -> list[tuple[str, str]]:
    """Decode a complete header block. Raises HeaderError. Source: RFC 7541 section 6."""
    return _Decoder(block).headers()


class _Decoder:
    """A position in one header block."""

    __slots__ = ("at", "block")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.at = 0

    def headers(self) -> list[tuple[str, str]]:
        found = []
        while self.at < len(self.block):
            first = self.block[self.at]
            if first & 0x80:  # indexed name and value
                found.append(self._static(self._integer(7)))
            elif first & 0xE0 == 0x20:  # the dynamic table's size, of which we allow 0
                self._integer(5)
            else:  # a literal value; name indexed or literal; with (6 bits) or without (4 bits) indexing
                index = self._integer(6 if first & 0x40 else 4)
                name = self._static(index)[0] if index else self._string()
                found.append((name, self._string()))
        return found

    def _static(self, index: int) -> tuple[str, str]:
        if not 1 <= index <= len(_STATIC):
            raise HeaderError(f"header index {index} is outside the static table")
        return _STATIC[index - 1]

    def _byte(self) -> int:
        if self.at >= len(self.block):
            raise HeaderError("header block ends early")
        self.at += 1
        return self.block[self.at - 1]

    def _integer(self, prefix_bits: int) -> int:
        limit = (1 << prefix_bits) - 1
        value = self._byte() & limit
        if value < limit:
            return value
        for shift in range(0, 28, 7):
            byte = self._byte()
            value += (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise HeaderError("header length is too large")

    def _string(self) -> str:
        if self.at >= len(self.block):
            raise HeaderError("header block ends early")
        huffman = self.block[self.at] & 0x80
        length = self._integer(7)
        raw = self.block[self.at : self.at + length]
        if len(raw) < length:
            raise HeaderError("header block ends early")
        self.at += length
        return _decode_huffman(raw) if huffman else raw.decode("utf-8", "replace")


def _decode_huffman(raw: bytes) -> str:
    """Decode Huffman-coded text; it is padded with ones. Source: RFC 7541 section 5.2."""
    text = []
    code = bits = 0
    for byte in raw:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            bits += 1
            symbol = _HUFFMAN.get((bits, code))
            if symbol is not None:
                text.append(symbol)
                code = bits = 0
    if bits > 7 or code != (1 << bits) - 1:
        raise HeaderError("header text is not printable ASCII")
    return "".join(text)


_HUFFMAN = _huffman_codes()
