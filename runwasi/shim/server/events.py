"""Sends events to containerd: from one queue, one by one, in the order in which they happened.

While containerd is away, for example during a restart, a bounded number of events waits for it. A refused
event is tried a few more times. No event overtakes another, because subscribers rely on create < start < exit
< delete.
"""

from __future__ import annotations

import time

from runwasi.shim.server.codes import RpcError
from runwasi.wire.messages.event_forward import ForwardRequest
from runwasi.wire.messages.types import Envelope
from runwasi.wire.messages.well_known import Any, Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.server.ttrpc_client import TtrpcClient
    from runwasi.wire.codec import Message

_SERVICE = "containerd.services.events.ttrpc.v1.Events"
_TIMEOUT = 5.0  # seconds, as containerd's own shims allow
_MAX_TRIES = 5  # of an event that containerd refuses
_PAUSES = (0.1, 0.2, 0.4, 1.0, 2.0, 5.0)  # seconds before the next try where nobody listens; the last goes on
_MAX_WAITING = 2048

_TOPICS = {
    "TaskCreate": "/tasks/create",
    "TaskStart": "/tasks/start",
    "TaskOOM": "/tasks/oom",
    "TaskExit": "/tasks/exit",
    "TaskDelete": "/tasks/delete",
    "TaskExecAdded": "/tasks/exec-added",
    "TaskExecStarted": "/tasks/exec-started",
    "TaskPaused": "/tasks/paused",
    "TaskResumed": "/tasks/resumed",
    "TaskCheckpointed": "/tasks/checkpointed",
}


def now() -> Timestamp:
    """Return the wall clock's time."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanoseconds)


def pack(message: Message, type_url: str = "") -> Any:
    """Wrap a message in an Any under containerd's type URLs, which have no host before the name."""
    return Any(type_url=type_url or message.NAME, value=message.encode())


class Publisher:
    """Sends the events of one namespace to containerd's ttrpc socket; without an address, discards them."""

    def __init__(self, reactor: Reactor, address: str, namespace: str, log: Log) -> None:
        self._reactor = reactor
        self._namespace = namespace
        self._log = log
        self._address = address.removeprefix("unix://")
        self._client: TtrpcClient | None = None
        self._queue: list[Envelope] = []
        self._tries = 0
        self._refusals = 0
        self._busy = False
        self._held = False
        self._drained: Callable[[], None] | None = None

    def quiet(self) -> bool:
        """Return whether no event is in flight, with its arrival unknown."""
        return self._client is None or not self._client.calling

    def take_over(self, queue: Sequence[str]) -> None:
        """Take over the events of the program that we replace."""
        self._queue = [Envelope.decode(bytes.fromhex(text)) for text in queue]
        self._reactor.call_soon(self._send_next)

    def hold(self) -> None:
        """Stop sending for now."""
        self._held = True

    def send_on(self) -> None:
        """Resume sending after hold."""
        self._held = False
        self._send_next()

    def state(self) -> list[str]:
        """Return the state for another program."""
        return [envelope.encode().hex() for envelope in self._queue]

    @property
    def waiting(self) -> bool:
        """Return whether an event waits for containerd."""
        return bool(self._queue)

    def publish(self, event: Message) -> None:
        """Queue an event, one of runwasi.wire.messages.events, with the current time."""
        if not self._address:
            return
        if len(self._queue) >= _MAX_WAITING:
            dropped = self._queue.pop(1)  # the first may be under way
            self._log.error("too many events wait for containerd", dropped=dropped.topic)
        topic = _TOPICS[type(event).__name__]
        self._queue.append(
            Envelope(timestamp=now(), namespace=self._namespace, topic=topic, event=pack(event))
        )
        self._reactor.call_soon(self._send_next)  # the answer of the call that caused it goes first

    def drain(self, seconds: float, done: Callable[[], None]) -> None:
        """Call done once everything has been sent, or after so many seconds."""
        if not self._queue:
            done()
            return
        timer = self._reactor.call_later(seconds, self._drain_over)

        def drained() -> None:
            timer.cancel()
            done()

        self._drained = drained

    def close(self) -> None:
        """Close the connection to containerd."""
        if self._client:
            self._client.close()

    def _send_next(self) -> None:
        if self._busy or self._held or not self._queue:
            return
        self._busy = True
        if self._client is None:
            from runwasi.shim.server.ttrpc_client import TtrpcClient  # late: after the pod's first answer

            self._client = TtrpcClient(self._reactor, self._address)
        request = ForwardRequest(envelope=self._queue[0])
        metadata = {"containerd-namespace-ttrpc": self._namespace}
        self._client.call(_SERVICE, "Forward", request, metadata, _TIMEOUT, self._sent)

    def _sent(self, error: Exception | None) -> None:
        if error is None or self._given_up(error):
            self._queue.pop(0)
            self._tries = self._refusals = 0
            self._busy = False
            if self._queue:
                self._send_next()
            else:
                self._drain_over()
            return
        away = _PAUSES[min(self._tries, len(_PAUSES) - 1)]
        self._tries += 1
        self._reactor.call_later(self._refusals if isinstance(error, RpcError) else away, self._try_again)

    def _given_up(self, error: Exception) -> bool:
        """Return whether to drop a refused event; for an absent containerd it waits."""
        self._refusals += isinstance(error, RpcError)
        given_up = self._refusals > _MAX_TRIES
        if given_up or self._tries == 0:
            what = "dropping an event" if given_up else "cannot forward an event yet"
            self._log.warning(what, topic=self._queue[0].topic, error=str(error))
        return given_up

    def _try_again(self) -> None:
        self._busy = False
        self._send_next()

    def _drain_over(self) -> None:
        drained, self._drained = self._drained, None
        if drained:
            drained()
