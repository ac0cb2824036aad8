"""One request and its response on a server's connection: what the guest says, put into HTTP/1.1."""

from __future__ import annotations

import time
from http import HTTPStatus

from runwasi.wasi.http.body import Arriving
from runwasi.wasi.http.fields import content_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.wasi.http.body import OutgoingBody
    from runwasi.wasi.http.connection import Connection
    from runwasi.wasi.http.fields import ErrorCode
    from runwasi.wasi.http.requests import Case, OutgoingResponse

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BODILESS = (204, 304)  # RFC 9110, 6.4.1; those below 200 a guest cannot set
_ERROR_STATUS = {
    "HTTP-request-denied": 403, "HTTP-request-length-required": 411, "HTTP-request-body-size": 413,
    "HTTP-request-method-invalid": 405, "HTTP-request-URI-invalid": 400, "HTTP-request-URI-too-long": 414,
    "HTTP-request-header-section-size": 431, "HTTP-request-header-size": 431, "loop-detected": 508,
}  # fmt: skip
"""What a guest's error-code in place of a response becomes; any other is a 502."""


class Exchange:
    """A request with its response; `Request` to the guest and `Transport` to the bodies.

    done      the guest has said all of its response
    aborted   its response, begun already, will not be whole: only the connection's end can say so
    """

    __slots__ = (
        "_chunked", "_connection", "_expects", "_head", "_head_sent", "_last_sent", "_suppressed", "aborted",
        "authority", "body", "declared", "done", "fields", "keep_alive", "method", "outgoing",
        "request_id", "status", "target", "version",
    )  # fmt: skip

    def __init__(self, connection: Connection, method: Case, target: str, version: str) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.authority: str | None = None
        self.fields: list[tuple[str, bytes]] = []
        self.body = Arriving(self)
        self.request_id = ""
        self.keep_alive = True
        self.status = 0
        self.declared: int | None = None
        self.outgoing: OutgoingBody | None = None
        self.done = False
        self.aborted = False
        self._connection = connection
        self._expects = False
        self._head: list[bytes] = []
        self._head_sent = False
        self._last_sent = False
        self._chunked = False
        self._suppressed = False

    # --- Request

    def expect_continue(self) -> None:
        """Note that the client sends its body only after an interim response."""
        self._expects = True

    def wants_body(self) -> None:
        """Tell a client that waits for it to go ahead. Source: RFC 9110, 10.1.1."""
        if self._expects and not self._head_sent and not self.body.complete():
            self._connection.write((b"HTTP/1.1 100 Continue\r\n\r\n",))
        self._expects = False

    def respond(self, response: OutgoingResponse | ErrorCode) -> None:
        """Take the guest's response; its head goes out with the first of its body."""
        if isinstance(response, tuple):
            self.fail(_ERROR_STATUS.get(response[0], 502))
            return
        status = self.status = response.status
        head = self._head = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        self.declared = content_length(response.fields)
        has_date = False
        for name, value in response.fields.pairs:
            if name != "content-length":  # framing is ours: a wrong one would split the response
                head.append(b"%s: %s\r\n" % (name.encode(), value))
                has_date = has_date or name == "date"
        if not has_date:
            head.append(_date.line())
        self.outgoing = body = response.content
        if body is None:
            self.done = True
        else:
            body.transport = self
            if body.finished or body.aborted:
                self.body_finished()

    def fail(self, status: int) -> None:
        """Answer for a guest that did not, or end the connection in the middle of what it did answer."""
        self.done = True
        if self._head_sent:
            self.aborted = True
            return
        self.status = status
        self.declared = self.outgoing = None
        self._head = [_STATUS_LINES[status], _date.line()]

    # --- Transport

    def pump(self) -> None:
        """Nothing: the event loop moves the bytes."""

    def sources(self) -> tuple[int, int, float | None]:
        """Nothing: the event loop wakes the guest."""
        return -1, 0, None

    def resume_reading(self) -> None:
        """Let the client send on."""
        self._connection.resume_reading()

    def backlog(self) -> int:
        """Count the bytes the client's socket has not taken."""
        return self._connection.backlog

    def body_finished(self) -> None:
        """Note the end of the response."""
        self.done = True
        if self.outgoing is not None and self.outgoing.aborted:
            self.fail(500)

    def push(self, *, more: bool = False) -> None:
        """Send what there is of the response; with `more` the guest is still running."""
        if not self.status:
            return
        body, out = self.outgoing, []
        chunks = body.take() if body is not None else []
        if not self._head_sent:
            self._head_sent = True
            out = self._head
            out.append(self._framing(sum(map(len, chunks))))
        if not self._suppressed:
            out += _chunked(chunks) if self._chunked else chunks
            if self._chunked and self.done and not self.aborted and not self._last_sent:
                self._last_sent = True
                out += self._last_chunk()
        if out:
            self._connection.write(out, more=more)

    # --- HTTP/1.1

    def closes(self) -> bool:
        """Say whether the connection ends with this response."""
        return self.aborted or not self.keep_alive

    def _framing(self, size: int) -> bytes:
        """Decide how the end of the body is found, and end the head. Source: RFC 9112, 6.3 and 9.3."""
        length = self.declared
        self._suppressed = self.method[0] == "head" or self.status in _BODILESS
        if length is None and self.done and not (self.outgoing is not None and self.outgoing.trailers):
            length = None if self._suppressed else size
        if length is None and not self._suppressed:
            if self.version == "1.0":
                self.keep_alive = False
            else:
                self._chunked = True
        lines = []
        if length is not None and self.status != 204:
            lines.append(b"content-length: %d\r\n" % length)
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        elif self.version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _last_chunk(self) -> list[bytes]:
        trailers = self.outgoing.trailers if self.outgoing is not None else []
        lines = [b"%s: %s\r\n" % (name.encode(), value) for name, value in trailers]
        return [b"0\r\n", *lines, b"\r\n"]


def _chunked(chunks: Iterable[bytes]) -> list[bytes]:
    """Frame chunks; an empty one would be taken for the last. Source: RFC 9112, 7.1."""
    return [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk]


class _Date:
    """The Date field, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = time.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(now)).encode()
        return self._line


_date = _Date()
