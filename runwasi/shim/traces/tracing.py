"""Records OpenTelemetry spans of the calls a shim serves, of their steps, and of the processes that they start.

A call's parent is the `traceparent` in its metadata, or in TRACECONTEXT; without one it begins a trace. A caller that
does not record its trace has none of ours either. Nothing here is imported unless an endpoint is configured.
Source: W3C Trace Context; opentelemetry.io/docs/specs/semconv, rpc and container.
"""

from __future__ import annotations

import json
import os
import time

from runwasi.wire.messages import otlp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from runwasi.executor.telemetry.timing import Mark
    from runwasi.shim.traces.span_exporter import SpanExporter
    from runwasi.wire.messages.status import Status

_INTERNAL, _SERVER = 1, 2  # Span.SpanKind
_ERROR = 2  # Status.StatusCode
_SAMPLED = 1  # of the trace-flags
_CONTAINERDS = ("", "containerd")
"""Values of OTEL_SERVICE_NAME that are not about us: containerd sets its own name where there is none."""
_HEX = frozenset("0123456789abcdef")
_LONGEST = 4096  # characters of a text
_LONGEST_STATE = 512  # characters of a tracestate that W3C asks everybody to take
_SHORT = 50_000  # nanoseconds; steps that take less are left out


class Parent:
    """The parent of our spans: the trace's id (16 bytes), the span's (8), vendor data, and whether it is recorded."""

    __slots__ = ("recorded", "span_id", "trace_id", "trace_state")

    def __init__(self, trace_id: bytes, span_id: bytes, trace_state: str = "", *, recorded: bool = True):
        self.trace_id = trace_id
        self.span_id = span_id
        self.trace_state = trace_state
        self.recorded = recorded

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Parent | None:
        """Read `traceparent` (version-trace-span-flags) and `tracestate`; None without a valid one."""
        parts = headers.get("traceparent", "").strip().split("-")
        if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
            return None
        version, trace, span, flags = parts[:4]
        if version == "ff" or (version == "00" and len(parts) > 4) or not _HEX.issuperset("".join(parts[:4])):
            return None
        if not (int(trace, 16) and int(span, 16)):  # all zeroes are invalid
            return None
        recorded = bool(int(flags, 16) & _SAMPLED)
        state = headers.get("tracestate", "")
        if len(state) > _LONGEST_STATE:
            state = ""
        return cls(bytes.fromhex(trace), bytes.fromhex(span), state, recorded=recorded)


class Span:
    """Something that takes time, from its making to end()."""

    __slots__ = ("_attributes", "_began", "_kind", "_name", "_parent_id", "_tracer", "context")

    def __init__(self, tracer: Tracer, name: str, parent: Parent | None, kind: int = _INTERNAL) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._parent_id = parent.span_id if parent else b""
        self._began = time.time_ns()
        self._attributes: dict[str, str | int] = {}
        state = parent.trace_state if parent else ""
        self.context = Parent(parent.trace_id if parent else os.urandom(16), os.urandom(8), state)

    @classmethod
    def taken_over(cls, tracer: Tracer, state: Mapping[str, Any]) -> Span:
        """Return a span that continues one of the program that we replace, from what its `state` returned."""
        span = cls(tracer, state["name"], None)
        span._began = state["began"]
        span._parent_id = bytes.fromhex(state["parent"])
        span._attributes = dict(state["attributes"])
        ids = (bytes.fromhex(state["trace"]), bytes.fromhex(state["span"]))
        span.context = Parent(*ids, state["trace_state"])
        return span

    def state(self) -> dict[str, Any]:
        """Return the span as JSON values, from which another program continues it by `taken_over`."""
        context = self.context
        return {
            "name": self._name,
            "began": self._began,
            "parent": self._parent_id.hex(),
            "trace": context.trace_id.hex(),
            "span": context.span_id.hex(),
            "trace_state": context.trace_state,
            "attributes": self._attributes,
        }

    def note(self, attributes: Mapping[str, str | int]) -> None:
        """Add attributes, except empty texts."""
        self._attributes.update((name, value) for name, value in attributes.items() if value != "")

    def begin(self, name: str) -> Span:
        """Return a new span below this one. Either may end first."""
        return Span(self._tracer, name, self.context)

    def answered(self, status: Status | None) -> None:
        """End the span of a call that is answered, with its status if it failed."""
        if status is not None:
            self.note({"rpc.grpc.status_code": status.code})
        self.end(status.message if status else None)

    def exited(self, status: int) -> None:
        """End the span of a process with its exit status."""
        self.note({"process.exit.code": status})
        self.end(f"exit status {status}" if status else None)

    def end(self, error: str | None = None) -> None:
        """End the span and hand it over for export, as failed if there is an error."""
        self._add(self._name, self.context.span_id, self._parent_id, self._began, time.time_ns(), error)

    def add_steps(self, marks: Iterable[Mark]) -> None:
        """Add the steps that marks delimit as spans below this one, except those that take less than 50 µs."""
        to_wall_clock = time.time_ns() - time.monotonic_ns()
        last: Mark | None = None
        for mark in marks:
            if last is not None and mark.who == last.who and mark.name and mark.at - last.at >= _SHORT:
                step = Span(self._tracer, mark.name, self.context)
                step.note({"runwasi.process": mark.who})
                began, ended = last.at + to_wall_clock, mark.at + to_wall_clock
                step._add(mark.name, step.context.span_id, self.context.span_id, began, ended, None)
            last = mark

    def _add(
        self, name: str, span_id: bytes, parent_id: bytes, began: int, ended: int, error: str | None
    ) -> None:
        span = otlp.Span(
            trace_id=self.context.trace_id,
            span_id=span_id,
            trace_state=self.context.trace_state,
            parent_span_id=parent_id,
            name=_valid(name),
            kind=self._kind,
            start_time_unix_nano=began,
            end_time_unix_nano=max(ended, began),
            attributes=_attributes(self._attributes),
        )
        if error is not None:
            span.status = otlp.SpanStatus(message=_valid(error), code=_ERROR)
        self._tracer.add(span)


class Tracer:
    """Makes the spans of a pod."""

    def __init__(
        self, exporter: SpanExporter, service: str, instance: str, environment: Mapping[str, str]
    ) -> None:
        self._exporter = exporter
        self._parent = Parent.of(_carrier(environment.get("TRACECONTEXT", "")))
        named = environment.get("OTEL_SERVICE_NAME", "")
        attributes: dict[str, str | int] = {
            **_resource_attributes(environment),
            "service.name": service if named in _CONTAINERDS else named,
            "service.instance.id": instance,
            "host.name": os.uname().nodename,
        }
        self._resource = otlp.Resource(attributes=_attributes(attributes))

    def begin(self, service: str, method: str, metadata: Mapping[str, str]) -> Span | None:
        """Return a new span for a call, None if its caller does not record the trace."""
        parent = Parent.of(metadata) or self._parent
        if parent is not None and not parent.recorded:
            return None
        span = Span(self, f"{service}/{method}", parent, _SERVER)
        span.note({"rpc.system": "ttrpc", "rpc.service": service, "rpc.method": method})
        return span

    def add(self, span: otlp.Span) -> None:
        """Pass a finished span to the exporter."""
        self._exporter.add(self._resource, span)


def _attributes(values: Mapping[str, str | int]) -> list[otlp.KeyValue]:
    return [otlp.KeyValue(key=_valid(name), value=_any(value)) for name, value in values.items()]


def _any(value: str | int) -> otlp.AnyValue:
    return (
        otlp.AnyValue(int_value=value)
        if isinstance(value, int)
        else otlp.AnyValue(string_value=_valid(value))
    )


def _valid(text: str) -> str:
    """Return a text as UTF-8 can hold it, and not too long: no caller or environment may lose others' spans."""
    return text[:_LONGEST].encode(errors="backslashreplace").decode()


def _resource_attributes(environment: Mapping[str, str]) -> dict[str, str | int]:
    """Read OTEL_RESOURCE_ATTRIBUTES: names and values, separated by commas."""
    pairs = (pair.partition("=") for pair in environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}


def _carrier(text: str) -> Mapping[str, str]:
    """Read TRACECONTEXT: a JSON object of headers, or a bare traceparent."""
    try:
        carrier = json.loads(text) if text.startswith("{") else {"traceparent": text}
    except (ValueError, RecursionError):
        return {}
    headers = carrier if isinstance(carrier, dict) else {}
    return {name: value for name, value in headers.items() if isinstance(value, str)}
