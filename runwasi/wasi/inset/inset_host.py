"""The host functions for the inset: they make real resources of what the inset keeps.

Bytes are passed as Latin-1 strings: the library copies those whole, and not one value per byte.
"""

from __future__ import annotations

from runwasi.wasi.component.interface import Interface
from runwasi.wasi.http.body import BodyWriter, OutgoingBody
from runwasi.wasi.http.fields import Fields
from runwasi.wasi.http.requests import IncomingRequest, OutgoingResponse, ResponseOutparam
from runwasi.wasi.inset.inset_interface import HOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.guest import Guest

inset = Interface(HOST)


@inset.function("request")
def request(guest: Guest) -> IncomingRequest:
    """Return the request that the guest handles."""
    return IncomingRequest(guest.serves)


@inset.function("outparam")
def outparam(guest: Guest) -> ResponseOutparam:
    """Return the outparam for its response."""
    return ResponseOutparam(guest.serves)


@inset.function("fields")
def fields(_guest: Guest, lines: str) -> Fields:
    """Make fields; the inset has checked them."""
    pairs = [line.partition(b": ") for line in lines.encode("latin-1").split(b"\r\n")[:-1]]
    return Fields([(name.decode(), value) for name, _, value in pairs])


@inset.function("response")
def response(guest: Guest, status: int, lines: str) -> OutgoingResponse:
    """Make a response."""
    made = OutgoingResponse(fields(guest, lines))
    made.set_status_code(status)
    return made


@inset.function("respond")
def respond(guest: Guest, status: int, lines: str) -> OutgoingBody:
    """Make a response, answer with it, and return the response's body."""
    made = response(guest, status, lines)
    content = made.body()
    guest.serves.respond(made)
    return content


@inset.function("respond-without-body")
def respond_without_body(guest: Guest, status: int, lines: str) -> None:
    """Make a response and answer with it."""
    guest.serves.respond(response(guest, status, lines))


@inset.function("body")
def body(_guest: Guest, of: OutgoingResponse) -> OutgoingBody:
    """Return a response's body."""
    return of.body()


@inset.function("stream")
def stream(guest: Guest, of: OutgoingBody, contents: str, flushed: bool) -> BodyWriter:
    """Return a body's stream with the bytes written so far; `flushed` says that a flush has been held once."""
    writer = of.write()
    of.add(contents.encode("latin-1"))
    if flushed:
        guest.serves.hurry()
    return writer


@inset.function("finish")
def finish(_guest: Guest, of: OutgoingBody) -> None:
    """End a body."""
    OutgoingBody.finish(of, None)
