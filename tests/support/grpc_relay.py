"""Takes OTLP over gRPC and passes each request on over HTTP: `grpc_relay URL` prints its port and ends with stdin.

It is a program because gRPC keeps descriptors in the process that used it.
"""

from __future__ import annotations

import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


def export(request: bytes, _context: grpc.ServicerContext) -> bytes:
    """Return the collector's answer: both protocols have the same messages."""
    headers = {"Content-Type": "application/x-protobuf"}
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1], request, headers)) as answer:
        body: bytes = answer.read()
        return body


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


main()
