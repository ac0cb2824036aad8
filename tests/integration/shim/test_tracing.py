"""Traces of a shim's calls arrive at a collector that the environment names."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from devtools.daemon import Daemon
from devtools.ttrpc import CallError
from runwasi.wire.messages.task import ConnectRequest
from runwasi.wire.messages.ttrpc import KeyValue, Request
from tests.support.shim import EventSink, Shim, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import BundleMaker

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.batches: queue.Queue[Any] = queue.Queue()
        batches = self.batches

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                batches.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    collector.close()


def test_a_call_is_a_span_below_its_callers(
    collector: Collector, our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["true"])) as task:
        request = Request(
            service="containerd.task.v2.Task",
            method="Connect",
            payload=ConnectRequest(id="x").encode(),
            metadata=[KeyValue(key="traceparent", value=f"00-{TRACE}-{PARENT}-01")],
        )
        task.peer.send_frame(101, 1, request.encode())
        task.peer.receive(101)
        spans = collector.batches.get(timeout=20)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["name"] for span in spans] == ["containerd.task.v2.Task/Connect"] * 2
    assert (spans[1]["traceId"], spans[1]["parentSpanId"]) == (TRACE, PARENT)
    assert int(spans[1]["endTimeUnixNano"]) >= int(spans[1]["startTimeUnixNano"])


def test_a_daemon_that_is_replaced_sends_the_spans_of_its_last_moment(
    collector: Collector,
    folder: Path,
    session_name: str,
    sink: EventSink,
    bundle: BundleMaker,
    container_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = Daemon(folder)
    monkeypatch.setenv("RUNWASI_MANAGER", str(daemon.path))
    monkeypatch.setenv("RUNWASI_DAEMON", "managed")
    shim = Shim("shared", session_name, sink)
    with running(shim, container_id, bundle(["true"])) as task:
        with pytest.raises(CallError):
            task.call("State")
        daemon.reload()
        last = ""
        while last != "containerd.task.v2.Task/State":
            batch = collector.batches.get(timeout=20)
            last = batch["resourceSpans"][0]["scopeSpans"][0]["spans"][-1]["name"]
    shim.clean()
    daemon.stop()
