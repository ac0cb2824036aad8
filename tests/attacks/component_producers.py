"""How a hostile component gets each kind of handle of WASI 0.2, as WebAssembly text.

A producer's code leaves a handle on the stack. `{name}` stands for the call of a function, `{@name}` for the handle
of another producer, and $R for the memory that functions return their results in.
"""

from __future__ import annotations

from typing import NamedTuple


class Producer(NamedTuple):
    """A way to a handle.

    parent    the producer of the handle that it came from, if that can be dropped before it
    consumes  producers whose handles are gone afterwards
    """

    resource: str
    code: str
    parent: str = ""
    consumes: tuple[str, ...] = ()


_LOOPBACK = "(i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1) " + "(i32.const 0) " * 6
_ANY_PORT = f"(i32.const 0) (i32.const 0) {_LOOPBACK} (i32.const $R)"
_PORT = "(i32.load16_u offset=4 (i32.const $R))"

_GOOD = "(if (i32.load8_u (i32.const $R)) (then unreachable))"
_RESULT = f"{_GOOD} (i32.load offset=4 (i32.const $R))"
_SECOND = f"{_GOOD} (i32.load offset=8 (i32.const $R))"
_FS, _IO, _HTTP, _TCP, _UDP = "filesystem/types", "io/streams", "http/types", "sockets/tcp", "sockets/udp"


def _open(name: int, size: int, opening: int, flags: int) -> str:
    return (
        f"(call {{{_FS}#[method]descriptor.open-at}} {{@folder}} (i32.const 1) (i32.const {name}) (i32.const {size})"
        f" (i32.const {opening}) (i32.const {flags}) (i32.const $R)) {_RESULT}"
    )


def _method(interface: str, method: str, this: str, rest: str = "") -> str:
    return f"(call {{{interface}#[method]{method}}} {{@{this}}} {rest})"


_R = "(i32.const $R)"
NAMES = b"file" + b"content-length" + b"5" + b"127.0.0.1:1"
"""Memory that producers need, at $N."""

PRODUCERS = {
    "folder": Producer(
        "descriptor", "(call {filesystem/preopens#get-directories} (i32.const $R))"
        " (i32.load (i32.load (i32.const $R)))",
    ),
    "file": Producer("descriptor", _open(0, 4, 1, 3), "folder"),
    "entries": Producer(
        "directory-entry-stream", _method(_FS, "descriptor.read-directory", "folder", _R) + _RESULT, "folder",
    ),
    "file-in": Producer(
        "input-stream", _method(_FS, "descriptor.read-via-stream", "file", f"(i64.const 0) {_R}") + _RESULT, "file",
    ),
    "file-out": Producer(
        "output-stream", _method(_FS, "descriptor.write-via-stream", "file", f"(i64.const 0) {_R}") + _RESULT, "file",
    ),
    "append": Producer(
        "output-stream", _method(_FS, "descriptor.append-via-stream", "file", _R) + _RESULT, "file",
    ),
    "folder-in": Producer(
        "input-stream", _method(_FS, "descriptor.read-via-stream", "folder", f"(i64.const 0) {_R}") + _RESULT,
        "folder",
    ),
    "error": Producer(
        "error", _method(_IO, "input-stream.read", "folder-in", f"(i64.const 1) {_R}")
        + " (if (i32.load8_u offset=4 (i32.const $R)) (then unreachable)) (i32.load offset=8 (i32.const $R))",
        "folder-in",
    ),
    "stdin": Producer("input-stream", "(call {cli/stdin#get-stdin})"),
    "stdout": Producer("output-stream", "(call {cli/stdout#get-stdout})"),
    "ready": Producer("pollable", _method(_IO, "input-stream.subscribe", "file-in"), "file-in"),
    "never": Producer("pollable", "(call {clocks/monotonic-clock#subscribe-duration} (i64.const -1))"),
    "network": Producer("network", "(call {sockets/instance-network#instance-network})"),
    "tcp": Producer(
        "tcp-socket", f"(call {{sockets/tcp-create-socket#create-tcp-socket}} (i32.const 0) {_R}) {_RESULT}",
    ),
    "listener": Producer(
        "tcp-socket", f"(call {{sockets/tcp-create-socket#create-tcp-socket}} (i32.const 0) {_R}) {_GOOD}"
        f" (local.set $this (i32.load offset=4 {_R}))"
        f" (call {{{_TCP}#[method]tcp-socket.start-bind}} (local.get $this) {{@network}} {_ANY_PORT}) {_GOOD}"
        f" (call {{{_TCP}#[method]tcp-socket.finish-bind}} (local.get $this) {_R}) {_GOOD}"
        f" (call {{{_TCP}#[method]tcp-socket.start-listen}} (local.get $this) {_R}) {_GOOD}"
        f" (call {{{_TCP}#[method]tcp-socket.finish-listen}} (local.get $this) {_R}) {_GOOD} (local.get $this)",
    ),
    "client": Producer(
        "tcp-socket", f"(call {{sockets/tcp-create-socket#create-tcp-socket}} (i32.const 0) {_R}) {_GOOD}"
        f" (local.set $this (i32.load offset=4 {_R}))"
        + _method(_TCP, "tcp-socket.local-address", "listener", _R) + _GOOD
        + f" (call {{{_TCP}#[method]tcp-socket.start-connect}} (local.get $this) {{@network}} (i32.const 0)"
        f" (i32.load16_u offset=8 {_R}) {_LOOPBACK} {_R}) {_GOOD} (local.get $this)",
    ),
    "tcp-in": Producer(
        "input-stream", _method(_TCP, "tcp-socket.finish-connect", "client", _R) + _RESULT, "client",
    ),
    "tcp-out": Producer(
        "output-stream", _method(_TCP, "tcp-socket.finish-connect", "client", _R) + _SECOND, "client",
    ),
    "accepting": Producer("pollable", _method(_TCP, "tcp-socket.subscribe", "listener"), "listener"),
    "arriving": Producer("pollable", _method(_IO, "input-stream.subscribe", "tcp-in"), "tcp-in"),
    "udp": Producer(
        "udp-socket", f"(call {{sockets/udp-create-socket#create-udp-socket}} (i32.const 0) {_R}) {_RESULT}",
    ),
    "tcp6": Producer(
        "tcp-socket", f"(call {{sockets/tcp-create-socket#create-tcp-socket}} (i32.const 1) {_R}) {_RESULT}",
    ),
    "udp6": Producer(
        "udp-socket", f"(call {{sockets/udp-create-socket#create-udp-socket}} (i32.const 1) {_R}) {_RESULT}",
    ),
    "udp-in": Producer(
        "incoming-datagram-stream",
        _method(_UDP, "udp-socket.stream", "udp", "(i32.const 0) " * 13 + _R) + _RESULT, "udp",
    ),
    "udp-out": Producer(
        "outgoing-datagram-stream",
        _method(_UDP, "udp-socket.stream", "udp", "(i32.const 0) " * 13 + _R) + _SECOND, "udp",
    ),
    "datagram": Producer(
        "pollable", _method(_UDP, "incoming-datagram-stream.subscribe", "udp-in"), "udp-in",
    ),
    "lookup": Producer(
        "resolve-address-stream", "(call {sockets/ip-name-lookup#resolve-addresses} {@network}"
        f" (i32.const $N+19) (i32.const 9) {_R}) {_RESULT}",
    ),
    "resolved": Producer(
        "pollable", _method("sockets/ip-name-lookup", "resolve-address-stream.subscribe", "lookup"), "lookup",
    ),
    "fields": Producer("fields", f"(call {{{_HTTP}#[constructor]fields}})"),
    "declared": Producer(
        "fields", f"(call {{{_HTTP}#[constructor]fields}}) (local.set $this)"
         " (local.get $this) (i32.const $N+4) (i32.const 14) (call $append_five) (local.get $this)",
    ),
    "fixed": Producer("fields", _method(_HTTP, "incoming-request.headers", "request"), "request"),
    "request": Producer("incoming-request", "(global.get $given_request)"),
    "answer": Producer("response-outparam", "(global.get $given_answer)"),
    "response": Producer("incoming-response", "(global.get $given_response)"),
    "body-in": Producer(
        "incoming-body", _method(_HTTP, "incoming-request.consume", "request", _R) + _RESULT, "request",
    ),
    "body-of-response": Producer(
        "incoming-body", _method(_HTTP, "incoming-response.consume", "response", _R) + _RESULT, "response",
    ),
    "body-stream": Producer(
        "input-stream", _method(_HTTP, "incoming-body.stream", "body-in", _R) + _RESULT, "body-in",
    ),
    "trailers": Producer(
        "future-trailers", f"(call {{{_HTTP}#[static]incoming-body.finish}} {{@body-in}})", consumes=("body-in",),
    ),
    "answer-to-be": Producer(
        "outgoing-response", f"(call {{{_HTTP}#[constructor]outgoing-response}} {{@fields}})", consumes=("fields",),
    ),
    "outgoing": Producer(
        "outgoing-request", f"(call {{{_HTTP}#[constructor]outgoing-request}} {{@fields}})", consumes=("fields",),
    ),
    "body-out": Producer(
        "outgoing-body", _method(_HTTP, "outgoing-response.body", "answer-to-be", _R) + _RESULT, "answer-to-be",
    ),
    "body-writer": Producer(
        "output-stream", _method(_HTTP, "outgoing-body.write", "body-out", _R) + _RESULT, "body-out",
    ),
    "short": Producer(
        "outgoing-body", f"(local.set $this (call {{{_HTTP}#[constructor]outgoing-response}} {{@declared}}))"
        f" (call {{{_HTTP}#[method]outgoing-response.body}} (local.get $this) {_R}) {_RESULT}",
        consumes=("declared",),
    ),
    "short-writer": Producer(
        "output-stream", _method(_HTTP, "outgoing-body.write", "short", _R) + _RESULT, "short",
    ),
    "options": Producer("request-options", f"(call {{{_HTTP}#[constructor]request-options}})"),
    "future": Producer(
        "future-incoming-response",
        _method(
            _HTTP, "outgoing-request.set-authority", "outgoing",
            "(i32.const 1) (i32.const $N+19) (i32.const 11)",
        )
        + " (drop)"
        + _method(_HTTP, "outgoing-request.set-scheme", "outgoing", "(i32.const 1) " + "(i32.const 0) " * 3)
        + f" (drop) (call {{http/outgoing-handler#handle}} {{@outgoing}} (i32.const 0) (i32.const 0) {_R}) "
        "(if (i32.load8_u (i32.const $R)) (then unreachable)) (i32.load offset=8 (i32.const $R))",
        consumes=("outgoing",),
    ),
    "answered": Producer("pollable", _method(_HTTP, "future-incoming-response.subscribe", "future"), "future"),
}  # fmt: skip

NONE = frozenset(("terminal-input", "terminal-output"))
"""Resources without any method, which a guest has only at a terminal."""
