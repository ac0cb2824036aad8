"""A request and its response: stands between a connection and a guest, which do not know each other.

The connection feeds the request's body and the guest reads it. The guest sets the response, and the connection
takes what there is of it whenever the guest waits or is done (`http1.py`).
"""

from __future__ import annotations

import itertools
import math
import os
import time

from runwasi.wasi.http.body import Arriving
from runwasi.wasi.http.fields import content_length, lines
from runwasi.wasi.io.streams import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.http.body import OutgoingBody
    from runwasi.wasi.http.fields import ErrorCode
    from runwasi.wasi.http.requests import OutgoingResponse, RequestHead

FLUSH_DELAY = 0.002
"""Seconds that flushed bytes may be held while the guest goes on running, so that the next ones join them."""

_ERROR_STATUS = {
    "HTTP-request-denied": 403, "HTTP-request-length-required": 411, "HTTP-request-body-size": 413,
    "HTTP-request-method-invalid": 405, "HTTP-request-URI-invalid": 400, "HTTP-request-URI-too-long": 414,
    "HTTP-request-header-section-size": 431, "HTTP-request-header-size": 431, "loop-detected": 508,
}  # fmt: skip
"""The status for an error-code that a guest returns in place of a response; any other is a 502."""


class Exchange:
    """The guest's `Request`, and the `Transport` of the body that it sends.

    status    the response's status, 0 while there is none
    lines     its fields, each with its line end
    dated     whether they include Date
    declared  the body's length, if the guest declared it
    done      the response is complete
    aborted   the response has begun and will stay incomplete: only ending the connection can say so
    begun     its head has been sent
    last      the connection ends after it
    continued an interim response is due: the guest reads the body, which the client holds back
    unsent    bytes of it that the socket has not accepted
    """

    __slots__ = (
        "_content", "_flushed", "_request_id", "aborted", "begun", "body", "continued", "dated", "declared", "done",
        "head", "last", "lines", "outgoing", "status", "unsent",
    )  # fmt: skip

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.body = Arriving()
        self.status = 0
        self.lines = b""
        self.dated = False
        self.declared: int | None = None
        self.outgoing: OutgoingBody | None = None
        self.done = False
        self.aborted = False
        self.begun = False
        self.last = not head.keep_alive
        self.continued = False
        self.unsent = 0
        self._content = b""
        self._flushed = 0.0
        self._request_id = ""

    # --- Request

    def fields(self) -> list[tuple[str, bytes]]:
        """Return the request's fields, including its id."""
        fields = list(self.head.fields)
        if not _clients_id(self.head):
            fields.append(("x-request-id", self.request_id().encode()))
        return fields

    def request_id(self) -> str:
        """Return the request's id: the client's, or a new one."""
        if not self._request_id:
            self._request_id = _clients_id(self.head) or _new_id()
        return self._request_id

    def wants_body(self) -> None:
        """Tell a waiting client to send the body. Source: RFC 9110, 10.1.1."""
        self.continued = self.head.expects and not self.begun and not self.body.complete()

    def respond(self, response: OutgoingResponse | ErrorCode) -> None:
        """Take the guest's response; its head is sent with the first bytes of its body."""
        if isinstance(response, tuple):
            self.fail(_ERROR_STATUS.get(response[0], 502))
            return
        self.status = response.status
        self.declared = content_length(response.fields)
        pairs = response.fields.pairs
        self.dated = any(name == "date" for name, _ in pairs)
        # we frame the body: a wrong content-length would split the response
        self.lines = lines([pair for pair in pairs if pair[0] != "content-length"])
        self.outgoing = body = response.content
        if body is None:
            self.done = True
        else:
            body.transport = self
            if body.finished or body.aborted:
                self.body_finished()

    def answer(self, status: int, lines: bytes, content: bytes, *, dated: bool) -> None:
        """Take a complete response."""
        self.status, self.lines, self.dated = status, lines, dated
        self._content = content
        self.done = True

    def fail(self, status: int) -> None:
        """Answer in place of the guest, or end the connection if the guest has begun its answer."""
        self.done = True
        if self.begun:
            self.aborted = True
            return
        self.status = status
        self.lines, self.dated, self._content = b"", False, b""
        self.declared = self.outgoing = None

    # --- Transport

    def pump(self) -> None:
        """Do nothing: the event loop moves the bytes."""

    def sources(self) -> tuple[int | None, int, float | None]:
        """Return no source: the event loop wakes the guest."""
        return None, 0, None

    def backlog(self) -> int:
        """Return the number of bytes that the client's socket has not accepted."""
        return self.unsent

    def lingers(self, waiting: int) -> bool:
        """Let the guest run on for a moment after a flush, so that a short response is one segment.

        A guest that runs for longer waits at its next flush, while its bytes are sent.
        """
        now = time.monotonic()
        if not self._flushed:
            self._flushed = now
        return waiting < CHUNK and now - self._flushed < FLUSH_DELAY

    def hurry(self) -> None:
        """Hold no further flush until something has been sent: one was held already."""
        self._flushed = -math.inf

    def body_finished(self) -> None:
        """Note the end of the response."""
        self.done = True
        if self.outgoing is not None and self.outgoing.aborted:
            self.fail(500)

    # --- the connection's side

    def take(self) -> list[bytes]:
        """Remove and return the bytes of the body that can be sent."""
        self._flushed = 0.0
        if self.outgoing is not None:
            return self.outgoing.take()
        content, self._content = self._content, b""
        return [content] if content else []

    def trailers(self) -> list[tuple[str, bytes]]:
        """Return the fields after the body."""
        return self.outgoing.trailers if self.outgoing is not None else []

    def close(self) -> None:
        """Drop the guest's body, which refers to us: a cycle would wait for the garbage collector."""
        if self.outgoing is not None:
            self.outgoing.transport = None
            self.outgoing = None


def _clients_id(head: RequestHead) -> str:
    for name, value in head.fields:
        if name == "x-request-id":
            return value[:64].decode("latin-1")
    return ""


_numbers = itertools.count(1)
_prefix: dict[int, str] = {}


def _new_id() -> str:
    """Make an id that is unique among all workers."""
    pid = os.getpid()
    if pid not in _prefix:
        _prefix[pid] = f"{pid:x}{os.urandom(4).hex()}-"
    return f"{_prefix[pid]}{next(_numbers):x}"
