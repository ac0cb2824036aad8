"""`-info`: describes this runtime and its features; containerd 2.2 and later ask before they create anything."""

from __future__ import annotations

from runwasi import __version__
from runwasi.engines.registry import runtime_name
from runwasi.wire.codec import WireError
from runwasi.wire.messages.types import RuntimeInfo, RuntimeVersion
from runwasi.wire.messages.well_known import Any

_FEATURES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"


def runtime_info(engine: str, shared: bool, stdin: bytes) -> bytes:
    """Return the RuntimeInfo message, which repeats the runtime's options from stdin."""
    return RuntimeInfo(
        name=runtime_name(engine, shared=shared),
        version=RuntimeVersion(version=__version__),
        options=_options(stdin),
        features=_features(),
    ).encode()


def _options(stdin: bytes) -> Any | None:
    try:
        options = Any.decode(stdin)
    except WireError:
        return None
    return options if options.type_url else None


def _features() -> Any:
    from runwasi.executor.runtime_features import features  # late: only -info asks
    from runwasi.oci.encode import dumps

    return Any(type_url=_FEATURES_TYPE, value=dumps(features()).encode())
