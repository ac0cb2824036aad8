"""Generated from otlp.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BYTES, FIXED64, INT, INT32, STRING, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class AnyValue(Message):
    """opentelemetry.proto.collector.trace.v1.AnyValue."""

    NAME = "opentelemetry.proto.collector.trace.v1.AnyValue"

    string_value: str = ""
    int_value: int | None = None

    FIELDS = (
        (1, "string_value", STRING),
        (3, "int_value", INT),
    )


class KeyValue(Message):
    """opentelemetry.proto.collector.trace.v1.KeyValue."""

    NAME = "opentelemetry.proto.collector.trace.v1.KeyValue"

    key: str = ""
    value: AnyValue | None = None

    FIELDS = (
        (1, "key", STRING),
        (2, "value", AnyValue),
    )


class Resource(Message):
    """opentelemetry.proto.collector.trace.v1.Resource."""

    NAME = "opentelemetry.proto.collector.trace.v1.Resource"

    attributes: Sequence[KeyValue] = ()

    FIELDS = (
        (1, "attributes", [KeyValue]),
    )


class InstrumentationScope(Message):
    """opentelemetry.proto.collector.trace.v1.InstrumentationScope."""

    NAME = "opentelemetry.proto.collector.trace.v1.InstrumentationScope"

    name: str = ""
    version: str = ""

    FIELDS = (
        (1, "name", STRING),
        (2, "version", STRING),
    )


class SpanStatus(Message):
    """opentelemetry.proto.collector.trace.v1.SpanStatus."""

    NAME = "opentelemetry.proto.collector.trace.v1.SpanStatus"

    message: str = ""
    code: int = 0

    FIELDS = (
        (2, "message", STRING),
        (3, "code", INT32),
    )


class Span(Message):
    """opentelemetry.proto.collector.trace.v1.Span."""

    NAME = "opentelemetry.proto.collector.trace.v1.Span"

    trace_id: bytes = b""
    span_id: bytes = b""
    trace_state: str = ""
    parent_span_id: bytes = b""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    attributes: Sequence[KeyValue] = ()
    status: SpanStatus | None = None

    FIELDS = (
        (1, "trace_id", BYTES),
        (2, "span_id", BYTES),
        (3, "trace_state", STRING),
        (4, "parent_span_id", BYTES),
        (5, "name", STRING),
        (6, "kind", INT32),
        (7, "start_time_unix_nano", FIXED64),
        (8, "end_time_unix_nano", FIXED64),
        (9, "attributes", [KeyValue]),
        (15, "status", SpanStatus),
    )


class ScopeSpans(Message):
    """opentelemetry.proto.collector.trace.v1.ScopeSpans."""

    NAME = "opentelemetry.proto.collector.trace.v1.ScopeSpans"

    scope: InstrumentationScope | None = None
    spans: Sequence[Span] = ()

    FIELDS = (
        (1, "scope", InstrumentationScope),
        (2, "spans", [Span]),
    )


class ResourceSpans(Message):
    """opentelemetry.proto.collector.trace.v1.ResourceSpans."""

    NAME = "opentelemetry.proto.collector.trace.v1.ResourceSpans"

    resource: Resource | None = None
    scope_spans: Sequence[ScopeSpans] = ()

    FIELDS = (
        (1, "resource", Resource),
        (2, "scope_spans", [ScopeSpans]),
    )


class ExportTraceServiceRequest(Message):
    """opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest."""

    NAME = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"

    resource_spans: Sequence[ResourceSpans] = ()

    FIELDS = (
        (1, "resource_spans", [ResourceSpans]),
    )


class PartialSuccess(Message):
    """opentelemetry.proto.collector.trace.v1.PartialSuccess."""

    NAME = "opentelemetry.proto.collector.trace.v1.PartialSuccess"

    rejected_spans: int = 0
    error_message: str = ""

    FIELDS = (
        (1, "rejected_spans", INT),
        (2, "error_message", STRING),
    )


class ExportTraceServiceResponse(Message):
    """opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse."""

    NAME = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse"

    partial_success: PartialSuccess | None = None

    FIELDS = (
        (1, "partial_success", PartialSuccess),
    )


TRACESERVICE_METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Export": (ExportTraceServiceRequest, ExportTraceServiceResponse),
}
"""opentelemetry.proto.collector.trace.v1.TraceService: method -> request and answer."""
