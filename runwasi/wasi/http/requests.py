"""wasi:http/types, requests and responses in both directions."""

from __future__ import annotations

from runwasi.wasi.component.interface import Resource
from runwasi.wasi.component.values import Err, Ok
from runwasi.wasi.http.body import IncomingBody, OutgoingBody
from runwasi.wasi.http.fields import Fields, content_length, is_token, types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from runwasi.wasi.http.body import Arriving
    from runwasi.wasi.http.fields import ErrorCode

    Case = tuple[str, str | None]
    """WIT's variants method and scheme."""

    class Request(Protocol):
        """A request that arrived, as the server sees it."""

        head: RequestHead
        body: Arriving

        def fields(self) -> list[tuple[str, bytes]]:
            """Return the fields that the guest may see."""

        def wants_body(self) -> None:
            """Note that the guest will read the body: a client may be waiting for that."""

        def respond(self, response: OutgoingResponse | ErrorCode) -> None:
            """Take the guest's answer, or why there is none."""


class RequestHead:
    """A request's first line and fields, checked.

    target     without scheme and authority
    version    "1.0" or "1.1"
    fields     those that are not the connection's own, as (lower-case name, value)
    keep_alive whether the client lets the connection be used again
    expects    whether it sends the body only after an interim response
    """

    __slots__ = ("authority", "expects", "fields", "keep_alive", "method", "target", "version")

    def __init__(
        self,
        method: Case = ("get", None),
        target: str = "/",
        version: str = "1.1",
        authority: str | None = None,
        fields: Sequence[tuple[str, bytes]] = (),
        *,
        keep_alive: bool = True,
        expects: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.authority = authority
        self.fields = fields
        self.keep_alive = keep_alive
        self.expects = expects


@types.resource("incoming-request")
class IncomingRequest(Resource):
    """A request that the guest handles."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._consumed = False

    def method(self) -> Case:
        """Return the method."""
        return self.request.head.method

    def path_with_query(self) -> str | None:
        """Return the target without scheme and authority."""
        return self.request.head.target

    def scheme(self) -> Case:
        """Return the scheme; TLS ends in front of this server."""
        return ("HTTP", None)

    def authority(self) -> str | None:
        """Return the host that the client named."""
        return self.request.head.authority

    def headers(self) -> Fields:
        """Return the fields, which cannot be changed."""
        return Fields(self.request.fields(), immutable=True)

    def consume(self) -> IncomingBody:
        """Return the body, once."""
        if self._consumed:
            raise Err
        self._consumed = True
        self.request.wants_body()
        return IncomingBody(self.request.body)


@types.resource("outgoing-response")
class OutgoingResponse(Resource):
    """A response that the guest makes."""

    def __init__(self, headers: Fields) -> None:
        headers.immutable = True
        self.fields = headers
        self.status = 200
        self.content: OutgoingBody | None = None

    @classmethod
    def new(cls, headers: Fields) -> OutgoingResponse:
        """Make a response with status 200."""
        return cls(headers)

    def status_code(self) -> int:
        """Return the status."""
        return self.status

    def set_status_code(self, status: int) -> None:
        """Set the status, 200 to 999; those below 200 are interim responses, which the guest cannot send."""
        if not 200 <= status <= 999:
            raise Err
        self.status = status

    def headers(self) -> Fields:
        """Return the fields, which are fixed by now."""
        return Fields(self.fields.pairs, immutable=True)

    def body(self) -> OutgoingBody:
        """Return the body to write, once."""
        if self.content is not None:
            raise Err
        self.content = OutgoingBody(content_length(self.fields), "HTTP-response-body-size")
        return self.content


@types.resource("response-outparam")
class ResponseOutparam(Resource):
    """Takes the guest's response."""

    def __init__(self, request: Request) -> None:
        self.request = request

    @staticmethod
    def set(param: ResponseOutparam, response: Ok | Err) -> None:
        """Answer; the body may still be written afterwards."""
        param.request.respond(response.value)  # type: ignore[arg-type]


@types.resource("outgoing-request")
class OutgoingRequest(Resource):
    """A request that the guest sends."""

    def __init__(self, headers: Fields) -> None:
        headers.immutable = True
        self.fields = headers
        self.method_case: Case = ("get", None)
        self.target: str | None = None
        self.scheme_case: Case | None = None
        self.host: str | None = None
        self.content: OutgoingBody | None = None

    @classmethod
    def new(cls, headers: Fields) -> OutgoingRequest:
        """Make a GET request."""
        return cls(headers)

    def body(self) -> OutgoingBody:
        """Return the body to write, once."""
        if self.content is not None:
            raise Err
        self.content = OutgoingBody(content_length(self.fields), "HTTP-request-body-size")
        return self.content

    def method(self) -> Case:
        """Return the method."""
        return self.method_case

    def set_method(self, method: Case) -> None:
        """Set the method, which must be a token."""
        if method[0] == "other" and not is_token((method[1] or "").encode()):
            raise Err
        self.method_case = method

    def path_with_query(self) -> str | None:
        """Return the target."""
        return self.target

    def set_path_with_query(self, target: str | None) -> None:
        """Set the target; None is "/"."""
        if target is not None and not _is_target(target):
            raise Err
        self.target = target

    def scheme(self) -> Case | None:
        """Return the scheme."""
        return self.scheme_case

    def set_scheme(self, scheme: Case | None) -> None:
        """Set the scheme; None is HTTPS."""
        self.scheme_case = scheme

    def authority(self) -> str | None:
        """Return the host and port."""
        return self.host

    def set_authority(self, authority: str | None) -> None:
        """Set the host and port."""
        if authority is not None and not _is_target(authority):
            raise Err
        self.host = authority

    def headers(self) -> Fields:
        """Return the fields, which are fixed by now."""
        return Fields(self.fields.pairs, immutable=True)


def _is_target(text: str) -> bool:
    """Return whether a text has no space or line end, which would split a request's first line."""
    return all("!" <= character != "\x7f" for character in text)


@types.resource("request-options")
class RequestOptions(Resource):
    """A request's timeouts, in nanoseconds; None is the default."""

    def __init__(self) -> None:
        self.connect: int | None = None
        self.first_byte: int | None = None
        self.between_bytes: int | None = None

    @classmethod
    def new(cls) -> RequestOptions:
        """Make options with nothing set."""
        return cls()

    def connect_timeout(self) -> int | None:
        """Return how long connecting may take."""
        return self.connect

    def set_connect_timeout(self, duration: int | None) -> None:
        """Set how long connecting may take."""
        self.connect = duration

    def first_byte_timeout(self) -> int | None:
        """Return how long the response's head may take."""
        return self.first_byte

    def set_first_byte_timeout(self, duration: int | None) -> None:
        """Set how long the response's head may take."""
        self.first_byte = duration

    def between_bytes_timeout(self) -> int | None:
        """Return how long the body may pause."""
        return self.between_bytes

    def set_between_bytes_timeout(self, duration: int | None) -> None:
        """Set how long the body may pause."""
        self.between_bytes = duration


@types.resource("incoming-response")
class IncomingResponse(Resource):
    """A response to a request that the guest sent."""

    def __init__(self, status: int, fields: Sequence[tuple[str, bytes]], body: Arriving) -> None:
        self._status = status
        self._fields = fields
        self._body = body
        self._consumed = False

    def status(self) -> int:
        """Return the status."""
        return self._status

    def headers(self) -> Fields:
        """Return the fields, which cannot be changed."""
        return Fields(self._fields, immutable=True)

    def consume(self) -> IncomingBody:
        """Return the body, once."""
        if self._consumed:
            raise Err
        self._consumed = True
        return IncomingBody(self._body)
