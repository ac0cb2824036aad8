"""Every generated message: what is read is written and read back as it was."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from runwasi.wire import messages
from runwasi.wire.codec import Message, WireError
from runwasi.wire.messages.task import CreateTaskRequest
from runwasi.wire.messages.types import Mount
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (WireError,)


def _all_messages() -> list[type[Message]]:
    for module in pkgutil.iter_modules(messages.__path__):
        importlib.import_module(f"{messages.__name__}.{module.name}")
    return sorted(Message.__subclasses__(), key=lambda kind: (kind.__module__, kind.NAME, kind.__name__))


MESSAGES = _all_messages()


def run(data: bytes) -> None:
    pieces = Pieces(data)
    kind = MESSAGES[(pieces.number() << 8 | pieces.number()) % len(MESSAGES)]
    message = kind.decode(pieces.rest())
    encoded = message.encode()
    assert kind.decode(encoded).encode() == encoded


def seeds() -> Iterator[bytes]:
    for number, kind in enumerate(MESSAGES):
        yield number.to_bytes(2, "big") + kind().encode()
    create = CreateTaskRequest(
        id="c1", rootfs=[Mount(type="bind", source="/a", options=["ro"])], terminal=True
    )
    yield MESSAGES.index(CreateTaskRequest).to_bytes(2, "big") + create.encode()
