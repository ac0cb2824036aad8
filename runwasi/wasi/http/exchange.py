"""A request and its response, between a connection and a guest, neither of which knows the other.

The connection feeds the request's body, the guest reads it; the guest says the response, the connection takes
what there is of it whenever the guest waits or is done (`http1.py`).
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
"""Seconds that a flushed piece may stay with a guest that goes on running, so that the next joins it."""

_ERROR_STATUS = {
    "HTTP-request-denied": 403, "HTTP-request-length-required": 411, "HTTP-request-body-size": 413,
    "HTTP-request-method-invalid": 405, "HTTP-request-URI-invalid": 400, "HTTP-request-URI-too-long": 414,
    "HTTP-request-header-section-size": 431, "HTTP-request-header-size": 431, "loop-detected": 508,
}  # fmt: skip
"""What a guest's error-code in place of a response becomes; any other is a 502."""


class Exchange:
    """`Request` to the guest and `Transport` to the body it sends.

    status    the response's, 0 while there is none
    lines     its fields, each with the line's end
    dated     whether Date is among them
    declared  the body's length, if the guest said it
    done      the guest has said all of its response
    aborted   its response, begun already, will not be whole: only the connection's end can say so
    begun     its head has been sent
    last      the connection ends with it
    continued an interim response is due: the guest wants the body that its client holds back
    unsent    bytes of it that the socket has not taken
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
        """Give the request's fields, its id among them."""
        fields = list(self.head.fields)
        if not _clients_id(self.head):
            fields.append(("x-request-id", self.request_id().encode()))
        return fields

    def request_id(self) -> str:
        """Give the request's id: the client's own or a new one."""
        if not self._request_id:
            self._request_id = _clients_id(self.head) or _new_id()
        return self._request_id

    def wants_body(self) -> None:
        """Tell a client that waits for it to go ahead. Source: RFC 9110, 10.1.1."""
        self.continued = self.head.expects and not self.begun and not self.body.complete()

    def respond(self, response: OutgoingResponse | ErrorCode) -> None:
        """Take the guest's response; its head goes out with the first of its body."""
        if isinstance(response, tuple):
            self.fail(_ERROR_STATUS.get(response[0], 502))
            return
        self.status = response.status
        self.declared = content_length(response.fields)
        pairs = response.fields.pairs
        self.dated = any(name == "date" for name, _ in pairs)
        # framing is ours: a wrong content-length would split the response
        self.lines = lines([pair for pair in pairs if pair[0] != "content-length"])
        self.outgoing = body = response.content
        if body is None:
            self.done = True
        else:
            body.transport = self
            if body.finished or body.aborted:
                self.body_finished()

    def answer(self, status: int, lines: bytes, content: bytes, *, dated: bool) -> None:
        """Take a response that is whole."""
        self.status, self.lines, self.dated = status, lines, dated
        self._content = content
        self.done = True

    def fail(self, status: int) -> None:
        """Answer for a guest that did not, or end the connection in the middle of what it did answer."""
        self.done = True
        if self.begun:
            self.aborted = True
            return
        self.status = status
        self.lines, self.dated, self._content = b"", False, b""
        self.declared = self.outgoing = None

    # --- Transport

    def pump(self) -> None:
        """Nothing: the event loop moves the bytes."""

    def sources(self) -> tuple[int, int, float | None]:
        """Nothing: the event loop wakes the guest."""
        return -1, 0, None

    def backlog(self) -> int:
        """Count the bytes the client's socket has not taken."""
        return self.unsent

    def lingers(self, waiting: int) -> bool:
        """Let the guest go on for a moment after a flush, so that a short response is one segment.

        A guest that goes on for longer waits at its next flush, and what it wrote is sent.
        """
        now = time.monotonic()
        if not self._flushed:
            self._flushed = now
        return waiting < CHUNK and now - self._flushed < FLUSH_DELAY

    def hurry(self) -> None:
        """Let no flush stay any more until something has been sent: one has stayed already."""
        self._flushed = -math.inf

    def body_finished(self) -> None:
        """Note the end of the response."""
        self.done = True
        if self.outgoing is not None and self.outgoing.aborted:
            self.fail(500)

    # --- the connection's side

    def take(self) -> list[bytes]:
        """Remove what there is to send of the body."""
        self._flushed = 0.0
        if self.outgoing is not None:
            return self.outgoing.take()
        content, self._content = self._content, b""
        return [content] if content else []

    def trailers(self) -> list[tuple[str, bytes]]:
        """Give the fields after the body."""
        return self.outgoing.trailers if self.outgoing is not None else []

    def close(self) -> None:
        """Let go of the guest's body, which knows us: a circle would wait for the garbage collector."""
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
    """Make an id that no other request has, whichever worker it is."""
    pid = os.getpid()
    if pid not in _prefix:
        _prefix[pid] = f"{pid:x}{os.urandom(4).hex()}-"
    return f"{_prefix[pid]}{next(_numbers):x}"
