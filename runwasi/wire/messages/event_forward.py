"""Generated from event_forward.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import Message
from runwasi.wire.messages.types import Envelope
from runwasi.wire.messages.well_known import Empty


class ForwardRequest(Message):
    """containerd.services.events.ttrpc.v1.ForwardRequest."""

    NAME = "containerd.services.events.ttrpc.v1.ForwardRequest"

    envelope: Envelope | None = None

    FIELDS = (
        (1, "envelope", Envelope),
    )


EVENTS_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Forward": (ForwardRequest, Empty),
}
"""containerd.services.events.ttrpc.v1.Events: method -> request and answer."""
