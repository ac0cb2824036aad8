"""OpenTelemetry traces of the calls a shim serves, when the environment asks for them.

A span per call, its parent the `traceparent` in the call's metadata or in TRACECONTEXT, sent in batches as
OTLP over HTTP in JSON. Sending happens in a fork, as the server has no second thread and waits for nobody.
Nothing here is imported unless an endpoint is configured. Source: opentelemetry.io/docs/specs/otlp, W3C
Trace Context.
"""

from __future__ import annotations

import json
import os
import time

from runwasi.executor.parent import errands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor
    from runwasi.wire.messages.status import Status

_BATCH_SECONDS = 1.0
_MAX_BATCH = 512
_TIMEOUT = 10
_HEX = frozenset("0123456789abcdef")
_SERVER, _ERROR = 2, 2  # SPAN_KIND_SERVER, STATUS_CODE_ERROR


class Span:
    """One call's time, from its making to end()."""

    def __init__(self, tracer: Tracer, name: str, parent: tuple[str, str]) -> None:
        self._tracer = tracer
        self._name = name
        self._trace_id, self._parent_id = parent
        self._began = time.time_ns()

    def end(self, status: Status | None) -> None:
        """Note that the call was answered, with its status if it failed."""
        span: dict[str, Any] = {
            "traceId": self._trace_id or os.urandom(16).hex(),
            "spanId": os.urandom(8).hex(),
            "name": self._name,
            "kind": _SERVER,
            "startTimeUnixNano": str(self._began),
            "endTimeUnixNano": str(time.time_ns()),
        }
        if self._parent_id:
            span["parentSpanId"] = self._parent_id
        if status is not None:
            span["status"] = {"code": _ERROR, "message": status.message}
            span["attributes"] = [{"key": "rpc.grpc.status_code", "value": {"intValue": str(status.code)}}]
        self._tracer.add(span)


class Tracer:
    """Collects spans and sends them on."""

    def __init__(
        self, reactor: Reactor, log: Log, service: str, instance: str, environment: Mapping[str, str]
    ) -> None:
        self._reactor = reactor
        self._log = log
        self._environment = environment
        self._url = _endpoint(environment)
        self._spans: list[dict[str, Any]] = []
        self._due = False
        self._at_once = False
        names = {
            "service.name": environment.get("OTEL_SERVICE_NAME", service),
            "service.instance.id": instance,
        }
        self._resource = {"attributes": [{"key": k, "value": {"stringValue": v}} for k, v in names.items()]}
        self._parent = _parent_of(_carrier(environment.get("TRACECONTEXT", "")))

    def begin(self, service: str, method: str, metadata: Mapping[str, str]) -> Span:
        """Start the span of a call."""
        parent = _parent_of(metadata)
        return Span(self, f"{service}/{method}", parent if parent[0] else self._parent)

    def add(self, span: dict[str, Any]) -> None:
        """Take a finished span; it is sent with others after a moment."""
        if len(self._spans) < _MAX_BATCH:
            self._spans.append(span)
        if self._at_once:
            self._flush()
        elif not self._due:
            self._due = True
            self._reactor.call_later(_BATCH_SECONDS, self._flush)

    def send_at_once(self, at_once: bool) -> None:
        """Collect nothing, since this program may be replaced at any moment, or go on collecting."""
        self._at_once = at_once
        if at_once:
            self._flush()

    def close(self, done: Callable[[], None]) -> None:
        """Send what is left; done is called after that."""
        if self._spans:
            self._send(done)
        else:
            done()

    def _flush(self) -> None:
        self._due = False
        if self._spans:
            self._send(lambda: None)

    def _send(self, done: Callable[[], None]) -> None:
        body, url, environment = self._taken(), self._url, self._environment

        def sent(_result: object, error: Exception | None) -> None:
            if error is not None:
                self._log.warning("cannot send traces", error=str(error))
            done()

        self._reactor.follow(
            errands.run(lambda: _post(url, body, environment), "sending traces", seconds=2 * _TIMEOUT), sent
        )

    def _taken(self) -> bytes:
        spans, self._spans = self._spans, []
        scope = {"scope": {"name": "runwasi"}, "spans": spans}
        return json.dumps({"resourceSpans": [{"resource": self._resource, "scopeSpans": [scope]}]}).encode()


def _endpoint(environment: Mapping[str, str]) -> str:
    """Return where traces go; the variable for traces alone holds the whole URL."""
    own = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    return own or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/") + "/v1/traces"


def _carrier(text: str) -> Mapping[str, str]:
    """Read TRACECONTEXT: a JSON object of headers, or a bare traceparent."""
    try:
        carrier = json.loads(text) if text.startswith("{") else {"traceparent": text}
    except ValueError:
        return {}
    return carrier if isinstance(carrier, dict) else {}


def _parent_of(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return trace and span id of a `traceparent` (version-trace-span-flags), empty without one."""
    parts = headers.get("traceparent", "").split("-")
    if len(parts) < 4 or (len(parts[1]), len(parts[2])) != (32, 16):
        return "", ""
    return (parts[1], parts[2]) if _HEX.issuperset(parts[1] + parts[2]) else ("", "")


def _post(url: str, body: bytes, environment: Mapping[str, str]) -> None:
    """Send a batch. Raises OSError."""
    import urllib.request  # late: 40 ms, in the process that sends

    headers = {"Content-Type": "application/json"}
    for pair in filter(None, environment.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")):
        key, _, value = pair.partition("=")
        headers[key.strip()] = value.strip()
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        answer.read()
