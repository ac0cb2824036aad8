"""All interfaces of WASI 0.2 that this package provides: importing it registers them."""

from __future__ import annotations

from runwasi.wasi import cli, clocks
from runwasi.wasi.filesystem import descriptors
from runwasi.wasi.http import body, fields, outgoing, requests
from runwasi.wasi.inset import inset_host
from runwasi.wasi.io import poll, streams
from runwasi.wasi.sockets import addresses, name_lookup, tcp, udp

PROVIDERS = (
    addresses, cli, clocks, descriptors, body, outgoing, fields, inset_host, requests, name_lookup, poll,
    streams, tcp, udp,
)  # fmt: skip


def load() -> None:
    """Do nothing: importing this module registered the interfaces."""
