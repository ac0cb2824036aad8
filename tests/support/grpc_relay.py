"""Takes OTLP over gRPC and passes each request on over HTTP: `grpc_relay URL` prints its port and ends with stdin.

It is a program because gRPC keeps descriptors in the process that used it.
"""

from __future__ import annotations

import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


class Relay(TraceServiceServicer):
    """Answers when the collector behind has answered."""

    def Export(self, request: Any, _context: object) -> Any:  # noqa: N802  gRPC's name
        headers = {"Content-Type": "application/x-protobuf"}
        with urllib.request.urlopen(
            urllib.request.Request(sys.argv[1], request.SerializeToString(), headers)
        ):
            return service.ExportTraceServiceResponse()


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(Relay(), server)  # type: ignore[no-untyped-call]
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


main()
