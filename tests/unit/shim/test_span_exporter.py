"""The sender of spans reports faults of a collector or the environment, and stays within its bounds."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from typing import TYPE_CHECKING, Self

import pytest

from runwasi.shim.server.log import Log
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.traces import span_exporter
from runwasi.shim.traces.otlp_endpoint import Endpoint, SendError
from runwasi.shim.traces.span_exporter import SpanExporter, encoded
from runwasi.shim.traces.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runwasi.wire.messages.otlp import Resource, Span

_SECONDS = 20
_TRACED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_URL = "OTEL_EXPORTER_OTLP_ENDPOINT"


_ENDLESS = 256  # MiB


class _Kept:
    """Takes the place of an exporter."""

    def __init__(self) -> None:
        self.spans: list[tuple[Resource, Span]] = []

    def add(self, resource: Resource, span: Span) -> None:
        self.spans.append((resource, span))


def _spans(environment: Mapping[str, str], error: str | None = None) -> list[tuple[Resource, Span]]:
    kept = _Kept()
    span = Tracer(kept, "shim", "pod", environment).begin("Task", "State", {})  # type: ignore[arg-type]
    assert span is not None
    span.end(error)
    return kept.spans


class _Collector:
    """Answers one request with given bytes; an endless one gets far more."""

    def __init__(self, answer: bytes, *, endless: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_SECONDS)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._answer = answer
        self._endless = endless
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.thread.join(_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_SECONDS)
            connection.recv(1 << 16)
            try:
                connection.sendall(self._answer)
                for _ in range(_ENDLESS if self._endless else 0):
                    connection.sendall(bytes(1 << 20))
            except OSError:
                pass  # the sender has had enough


def test_an_endless_answer_is_not_kept() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _Collector(b"HTTP/1.1 200 OK\r\n\r\n", endless=True) as collector:
        answer = Endpoint({_URL: collector.url}).send(b"spans")
    assert len(answer) <= 1 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_an_answer_that_is_no_http_is_an_error_of_the_endpoint() -> None:
    with _Collector(b"220 mail.example ESMTP\r\n") as collector, pytest.raises(SendError) as raised:
        Endpoint({_URL: collector.url}).send(b"spans")
    assert str(raised.value).startswith(f"{collector.url}/v1/traces: ")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_no_error_shows_the_password_of_an_endpoint(protocol: str) -> None:
    endpoint = Endpoint({_URL: "http://me:secret@127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    with pytest.raises(SendError, match="OTEL_EXPORTER_OTLP_HEADERS") as raised:
        endpoint.send(b"spans")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["data:text/plain,", "file:///etc", "localhost:4318"])
def test_an_endpoint_that_is_no_http_is_refused(url: str) -> None:
    with pytest.raises(SendError, match="expected http:// or https://"):
        Endpoint({_URL: url}).send(b"spans")


def test_a_timeout_is_at_most_an_hour() -> None:
    assert Endpoint({_URL: "http://a", "OTEL_EXPORTER_OTLP_TIMEOUT": "9" * 20}).timeout == 3600


@pytest.fixture
def log() -> Iterator[tuple[Log, int]]:
    """A log, and the descriptor that its lines can be read from."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    log = Log(writer)
    yield log, reader
    log.close()
    os.close(reader)


def test_a_sender_that_its_deadline_ends_is_told_of_once(
    log: tuple[Log, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_exporter, "_GRACE", 1)
    monkeypatch.setattr(Endpoint, "send", lambda *_: signal.pause())
    reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
    exporter = SpanExporter(reactor, log[0], {_URL: "http://a", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"})
    ended = exporter._sent

    def sent(child: object) -> None:
        ended(child)  # type: ignore[arg-type]
        reactor.stop()

    monkeypatch.setattr(exporter, "_sent", sent)
    for _ in range(2):
        for resource_, span in _spans({}):
            exporter.add(resource_, span)
        exporter.close()
        reactor.run()
    lines = os.read(log[1], 1 << 16).decode().splitlines()
    assert len(lines) == 1
    assert 'error="no whole answer within 1 s"' in lines[0]


@pytest.mark.parametrize(
    "context", ['{"traceparent": 5, "tracestate": []}', '{"a":' * 100_000, "[" * 100_000]
)
def test_a_damaged_context_of_the_environment_is_none(context: str) -> None:
    ((_, span),) = _spans({"TRACECONTEXT": context})
    assert span.parent_span_id == b""


def test_a_text_that_is_not_utf8_loses_no_batch() -> None:
    spans = _spans({"OTEL_RESOURCE_ATTRIBUTES": "site=\udcff"}, error="/r\udcff: not found")
    assert b"/r\\udcff: not found" in encoded(spans)


def test_a_long_text_is_cut() -> None:
    long = "x" * (1 << 20)
    kept = _Kept()
    span = Tracer(kept, "shim", "pod", {}).begin("Task", long, {"traceparent": _TRACED, "tracestate": long})  # type: ignore[arg-type]
    assert span is not None
    span.note({"container.id": long})
    span.end(long)
    assert len(encoded(kept.spans)) < 32 << 10
