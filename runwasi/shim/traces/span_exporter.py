"""Sends the spans of a server's pods to a collector, a batch at a time, without delaying any call.

The server has one thread and must not block, so each batch has its own process, one at a time. That process
has a deadline, and may outlive the server, because the last spans are those of the pod's end. While a
collector is slow, at most 2,048 spans wait; a batch that cannot be sent is lost. Source:
opentelemetry.io/docs/specs/otel/trace/sdk, batching processor.
"""

from __future__ import annotations

import os

from runwasi.linux import processes
from runwasi.shim.traces.otlp_endpoint import Endpoint, SendError
from runwasi.startup import thin_signal
from runwasi.wire.codec import WireError
from runwasi.wire.messages.otlp import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    InstrumentationScope,
    ResourceSpans,
    ScopeSpans,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from runwasi.linux.processes import Child
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor
    from runwasi.wire.messages.otlp import Resource, Span

_DELAY = 1.0  # seconds that a batch is collected
_MAX_KEPT = 2048  # the SDKs' default
_SCOPE = InstrumentationScope(name="runwasi")
_GRACE = 5  # seconds beyond a batch's own timeout, for imports on a busy machine
_LATE = 128 + thin_signal.SIGALRM  # the status of a sender that its deadline ended


class SpanExporter:
    """Collects the spans of a server and has them sent."""

    def __init__(self, reactor: Reactor, log: Log, environment: Mapping[str, str]) -> None:
        """Read the endpoint from the environment, which must ask for traces (otlp_endpoint.is_wanted)."""
        self._reactor = reactor
        self._log = log
        self._endpoint = Endpoint(environment)
        self._spans: list[tuple[Resource, Span]] = []
        self._dropped = 0
        self._due = False
        self._sending = False
        self._failing = False
        self._at_once = False

    def add(self, resource: Resource, span: Span) -> None:
        """Take a finished span; it is sent within a second or so, or dropped if 2,048 wait already."""
        if len(self._spans) >= _MAX_KEPT:
            self._dropped += 1
            return
        self._spans.append((resource, span))
        if self._at_once:
            self.close()
        elif not self._due:
            self._due = True
            self._reactor.call_later(_DELAY, self._flush)

    def send_at_once(self, at_once: bool) -> None:
        """Send each span at once, as this program may be replaced at any moment, or collect batches again."""
        self._at_once = at_once
        if at_once:
            self.close()

    def close(self) -> None:
        """Send all that wait, even while a batch is on its way."""
        if self._spans:
            self._send()

    def _flush(self) -> None:
        self._due = False
        if self._spans and not self._sending:
            self._send()

    def _send(self) -> None:
        spans, self._spans = self._spans, []
        try:
            child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
        except OSError as error:
            self._log.warning("cannot send traces", error=str(error))
            return
        if child is None:
            self._work(spans)
        self._sending = True
        self._reactor.watch(child.pidfd, lambda _events: self._sent(child))

    def _sent(self, child: Child) -> None:
        self._reactor.unwatch(child.pidfd)
        try:
            status = processes.reap_if_ended(child.pidfd)
        except ChildProcessError:
            status = 0  # the reaper of orphans has reaped it
        if status == _LATE and not self._failing:
            self._log.warning("cannot send traces", error=f"no whole answer within {self._deadline()} s")
        self._failing = status != 0
        os.close(child.pidfd)
        self._sending = False
        if self._dropped:
            self._log.warning("spans are lost: the collector is too slow", spans=str(self._dropped))
            self._dropped = 0
        if self._spans and not self._due:
            self._flush()

    def _deadline(self) -> int:
        return int(self._endpoint.timeout) + _GRACE

    def _work(self, spans: list[tuple[Resource, Span]]) -> NoReturn:
        """Send, in a process of its own."""
        status = 1
        try:
            thin_signal.set_wakeup_fd(-1)  # the server's
            thin_signal.alarm(self._deadline())
            processes.close_fds_except({self._log.fileno()})
            for fd in (0, 1, 2):
                if fd != self._log.fileno():
                    os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), fd)
            os.nice(5)
            complaint = _refusal(self._endpoint.send(encoded(spans)))
            status = 0
        except SendError as error:
            complaint = str(error)
        except BaseException as error:  # noqa: BLE001  nothing may unwind into the server's code
            complaint = repr(error)
        if complaint and not self._failing:
            self._log.warning("cannot send traces", error=complaint)
        os._exit(status)


def encoded(spans: list[tuple[Resource, Span]]) -> bytes:
    """Return spans as an encoded ExportTraceServiceRequest, grouped by their resource."""
    by_resource: dict[int, tuple[Resource, list[Span]]] = {}
    for resource, span in spans:
        by_resource.setdefault(id(resource), (resource, []))[1].append(span)
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(resource=resource, scope_spans=[ScopeSpans(scope=_SCOPE, spans=own)])
            for resource, own in by_resource.values()
        ]
    ).encode()


def _refusal(answer: bytes) -> str:
    """Return the collector's message about rejected spans, "" if it accepted all."""
    try:
        partial = ExportTraceServiceResponse.decode(answer).partial_success
    except WireError:
        return ""  # it accepted them, and has a message all the same
    if partial is None or not partial.rejected_spans:
        return ""
    return f"{partial.rejected_spans} spans are rejected: {partial.error_message}"
