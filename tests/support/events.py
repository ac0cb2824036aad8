"""The events of a containerd, as `ctr events` prints them."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from devtools.containerd import Containerd

_SECONDS = 60


class Event(NamedTuple):
    """One event: its topic such as /tasks/exit, and its fields."""

    topic: str
    fields: dict[str, Any]


class Events:
    """The events since the beginning of `watching`."""

    def __init__(self) -> None:
        self._arrived: queue.Queue[Event] = queue.Queue()

    def next(self, topic: str) -> Event:
        """Wait for the next event of a topic; those before it are passed over."""
        return self.until(topic)[-1]

    def until(self, topic: str) -> list[Event]:
        """Every /tasks/ event up to and including the next one of a topic."""
        seen: list[Event] = []
        while True:
            try:
                event = self._arrived.get(timeout=_SECONDS)
            except queue.Empty:
                raise AssertionError(f"no {topic} after {[event.topic for event in seen]}") from None
            if event.topic.startswith("/tasks/"):
                seen.append(event)
            if event.topic == topic:
                return seen

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            # date, time, zone offset, zone name, namespace, topic, fields
            words = line.split(maxsplit=6)
            if len(words) == 7:
                self._arrived.put(Event(words[5], json.loads(words[6])))


@contextlib.contextmanager
def watching(containerd: Containerd) -> Iterator[Events]:
    """Subscribe to the events of a containerd."""
    events = Events()
    process = containerd.start_ctr("events")
    reader = threading.Thread(target=events._read, args=[process])
    reader.start()
    try:
        _wait_until_subscribed(containerd, events)
        yield events
    finally:
        process.terminate()
        process.wait()
        reader.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def _wait_until_subscribed(containerd: Containerd, events: Events) -> None:
    """Nothing tells when a subscription begins, so make harmless events until one comes back."""
    for number in range(100):
        containerd.ctr("namespaces", "label", containerd.namespace, f"probe={number}")
        with contextlib.suppress(queue.Empty):
            events._arrived.get(timeout=0.1)
            return
    raise AssertionError("ctr events shows no event")
