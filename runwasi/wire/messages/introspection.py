"""Generated from introspection.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import EMPTY_MAP, STRING, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Plugin(Message):
    """containerd.services.introspection.v1.Plugin."""

    NAME = "containerd.services.introspection.v1.Plugin"

    type: str = ""
    id: str = ""
    exports: Mapping[str, str] = EMPTY_MAP

    FIELDS = (
        (1, "type", STRING),
        (2, "id", STRING),
        (5, "exports", {STRING: STRING}),
    )


class PluginsRequest(Message):
    """containerd.services.introspection.v1.PluginsRequest."""

    NAME = "containerd.services.introspection.v1.PluginsRequest"

    filters: Sequence[str] = ()

    FIELDS = (
        (1, "filters", [STRING]),
    )


class PluginsResponse(Message):
    """containerd.services.introspection.v1.PluginsResponse."""

    NAME = "containerd.services.introspection.v1.PluginsResponse"

    plugins: Sequence[Plugin] = ()

    FIELDS = (
        (1, "plugins", [Plugin]),
    )


INTROSPECTION_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Plugins": (PluginsRequest, PluginsResponse),
}
"""containerd.services.introspection.v1.Introspection: method -> request and answer."""
