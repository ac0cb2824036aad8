"""wasi:http/outgoing-handler: requests that a guest sends, and the responses to come."""

from __future__ import annotations

from runwasi.wasi.component.interface import Interface, Resource
from runwasi.wasi.component.values import Err, Ok
from runwasi.wasi.http.body import Event
from runwasi.wasi.http.client_exchange import ClientExchange
from runwasi.wasi.http.fields import types
from runwasi.wasi.http.requests import OutgoingRequest, RequestOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.io.poll import Pollable

outgoing_handler = Interface("wasi:http/outgoing-handler")


@outgoing_handler.function("handle")
def handle(guest: Guest, request: OutgoingRequest, options: RequestOptions | None) -> FutureResponse:
    """Begin to send a request."""
    if not guest.world.network:
        raise Err(("HTTP-request-denied", None))
    scheme = (request.scheme_case or ("HTTPS", None))[0]
    if scheme == "other" or not request.host:
        raise Err(("HTTP-request-URI-invalid", None))
    host, port = _host_and_port(request.host, 443 if scheme == "HTTPS" else 80)
    try:
        exchange = ClientExchange(request, options or RequestOptions(), host, port, tls=scheme == "HTTPS")
    except ValueError:
        raise Err(("HTTP-request-URI-invalid", None)) from None
    except OSError:  # no descriptor or no thread is left
        raise Err(("internal-error", None)) from None
    if request.content is not None:
        request.content.transport = exchange
    return FutureResponse(exchange)


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    host, colon, port = authority.rpartition("@")[2].rpartition(":")
    if not colon or port.endswith("]"):  # "name" or "[::1]"
        host, port = authority.rpartition("@")[2], str(default)
    if not (port.isdigit() and 0 < int(port) < 1 << 16):
        raise Err(("HTTP-request-URI-invalid", None))
    return host.removeprefix("[").removesuffix("]"), int(port)


@types.resource("future-incoming-response")
class FutureResponse(Resource):
    """A response that may not have arrived yet."""

    def __init__(self, exchange: ClientExchange) -> None:
        self._exchange = exchange
        self._given = False

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when the head has arrived or the request has failed."""
        return Event(self._exchange.answered, self._exchange)

    def get(self) -> Ok | Err | None:
        """Return the response or the error, None before; only one call gets it."""
        exchange = self._exchange
        exchange.pump()
        if not exchange.answered():
            return None
        if self._given:
            return Err()
        self._given = True
        if exchange.failure is not None and exchange.response is None:
            return Ok(Err(exchange.failure.code))
        return Ok(Ok(exchange.response))

    def drop(self) -> None:
        """End the exchange, unless the guest took the response: then its body keeps the exchange alive."""
        if not self._given:
            self._exchange.close()
