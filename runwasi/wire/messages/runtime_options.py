"""Generated from runtime_options.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BYTES, STRING, Message


class Options(Message):
    """runtimeoptions.v1.Options."""

    NAME = "runtimeoptions.v1.Options"

    type_url: str = ""
    config_path: str = ""
    config_body: bytes = b""

    FIELDS = (
        (1, "type_url", STRING),
        (2, "config_path", STRING),
        (3, "config_body", BYTES),
    )
