"""A collector of traces: takes OTLP over HTTP or gRPC, and decodes it with OpenTelemetry's own messages."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from devtools.places import ROOT

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RECORDED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
"""A caller's metadata."""
TASK = "containerd.task.v2.Task"
_SECONDS = 30
_PATH = "/v1/traces"


class Received:
    """A span that has arrived, and the attributes of it and of what sent it."""

    def __init__(self, span: Span, resource: Iterable[Any]) -> None:
        self.name = span.name
        self.trace = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano
        self.error = span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None
        self.attributes = _values(span.attributes)
        self.resource = _values(resource)

    def __repr__(self) -> str:
        return f"<{self.name} {self.id} below {self.parent or 'nothing'} in {self.trace}>"


def _values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


class Collector:
    """Keeps what arrives; hold() lets senders wait for their answers."""

    def __init__(self, protocol: str) -> None:
        self.spans: list[Received] = []
        self._changed = threading.Condition()
        self._answers = threading.Event()
        self._answers.set()
        self.waiting = 0
        """Senders that wait for an answer."""
        self._server = _Http(self._take)
        self._relay: subprocess.Popen[str] | None = None
        endpoint = self._server.endpoint
        if protocol == "grpc":
            self._relay = _relay(f"{endpoint}{_PATH}")
            assert self._relay.stdout
            endpoint = f"http://127.0.0.1:{int(self._relay.stdout.readline())}"
        self.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    def hold(self) -> None:
        """Answer nobody until go_on()."""
        self._answers.clear()

    def go_on(self) -> None:
        """Answer again."""
        self._answers.set()

    def wait_for_senders(self) -> None:
        """Return when somebody waits for an answer."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.waiting, _SECONDS)

    def wait(self, wanted: Callable[[Received], object]) -> Received:
        """Return the first span that is as wanted, when it has come."""
        with self._changed:
            found = self._changed.wait_for(lambda: next(filter(wanted, self.spans), None), _SECONDS)
            assert found, f"there are only {self.spans}"
        return found

    def close(self) -> None:
        """Stop; whoever waits is answered."""
        self.go_on()
        if self._relay is not None:
            self._relay.communicate()
        self._server.close()

    def _take(self, request: service.ExportTraceServiceRequest) -> None:
        with self._changed:
            self.waiting += 1
            self._changed.notify_all()
        assert self._answers.wait(_SECONDS)
        with self._changed:
            self.waiting -= 1
            self.spans += [
                Received(span, batch.resource.attributes)
                for batch in request.resource_spans
                for scope in batch.scope_spans
                for span in scope.spans
            ]
            self._changed.notify_all()


def _relay(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.grpc_relay", url]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class _Http:
    def __init__(self, take: Callable[[service.ExportTraceServiceRequest], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert (self.path, self.headers["Content-Type"]) == (_PATH, "application/x-protobuf")
                take(service.ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def sending_to(protocol: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that shims send to."""
    collector = Collector(protocol)
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    yield collector
    collector.close()


def named(name: str) -> Callable[[Received], bool]:
    """Return a function that finds a span by its name, or by the name of a method of the Task service."""
    return lambda span: span.name in {name, f"{TASK}/{name}"}
