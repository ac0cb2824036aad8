"""All interfaces of WASI 0.2 that this package provides: importing it registers them."""

from __future__ import annotations

from runwasi.engines.wasip2 import (
    addresses,
    cli,
    clocks,
    filesystem,
    http_body,
    http_client,
    http_fields,
    http_types,
    name_lookup,
    poll,
    streams,
    tcp,
    udp,
)

PROVIDERS = (
    addresses, cli, clocks, filesystem, http_body, http_client, http_fields, http_types, name_lookup, poll,
    streams, tcp, udp,
)  # fmt: skip


def load() -> None:
    """Have them registered, which the import did."""
