"""Models what the random walk expects: the containers, the state of each, and the events that they have caused."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

CREATED, RUNNING, PAUSED, STOPPED = "created", "running", "paused", "stopped"
KILLED = 137


class EventKey(NamedTuple):
    """An event without what cannot be foretold: its topic without /tasks/, the container, the exec, the status."""

    topic: str
    container: str
    exec_id: str = ""
    status: int = 0


class Life:
    """One container, from its creation to its deletion."""

    def __init__(self, container: str, surface: str, kind: str, pod: str) -> None:
        """`surface` is who makes it: "normal" or "shared" through containerd, or "command" the command line."""
        self.id = container
        self.surface = surface
        self.kind = kind
        self.pod = pod
        self.status = CREATED
        self.pids_limit: int | None = None
        self.is_heard = False
        """Return whether a client that attaches gets its output."""

    @property
    def in_containerd(self) -> bool:
        """Return whether containerd knows it."""
        return self.surface != "command"

    @property
    def lives(self) -> bool:
        """Return whether it has a process."""
        return self.status != STOPPED


class Model:
    """All containers that there must be, and the events that there must or may have been."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self.required: Counter[EventKey] = Counter()
        self.possible: Counter[EventKey] = Counter()
        self._numbers = 0

    def next_id(self, session: str) -> str:
        """Return an id that no container has had."""
        self._numbers += 1
        return f"{session}-{self._numbers}"

    def of(self, *surfaces: str, status: tuple[str, ...] = (CREATED, RUNNING, PAUSED, STOPPED)) -> list[Life]:
        """Return the containers of these surfaces, or of all, in these states, in the order of their making."""
        return [
            life
            for life in self.lives.values()
            if life.status in status and (not surfaces or life.surface in surfaces)
        ]

    def caused(
        self, life: Life, topic: str, exec_id: str = "", status: int = 0, *, surely: bool = True
    ) -> None:
        """Note an event that a container has caused; what happens while nobody listens is not sure."""
        if life.in_containerd:
            key = EventKey(topic, life.id, exec_id, status)
            (self.required if surely else self.possible)[key] += 1

    def ended(self, life: Life, status: int, *, surely: bool = True) -> None:
        """Note the end of a container's first process."""
        life.status = STOPPED
        self.caused(life, "exit", status=status, surely=surely)

    def disagreements(self, seen: Counter[EventKey]) -> list[str]:
        """Compare the events that were seen; return a line for each that is missing or too many."""
        lines = [f"missing event: {_told(key)}" for key in (self.required - seen).elements()]
        allowed = self.required + self.possible
        return lines + [f"unexpected event: {_told(key)}" for key in (seen - allowed).elements()]

    def forget(self, container: str) -> None:
        """Remove a container; its events stay until the round is compared."""
        del self.lives[container]


def _told(key: EventKey) -> str:
    process = f" exec {key.exec_id}" if key.exec_id else ""
    return f"{key.topic} of {key.container}{process}" + (
        f" status {key.status}" if key.topic == "exit" else ""
    )
