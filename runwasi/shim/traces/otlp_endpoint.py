"""Reads the collector from the environment and sends spans to it: OTLP over HTTP or gRPC, in protobuf.

Only the process that sends a batch imports the libraries for that. Source: opentelemetry.io/docs/specs/otel/protocol,
exporter and environment variables.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PATH = "/v1/traces"
_MILLISECONDS = 10_000
_LONGEST = 3600.0  # seconds
_MOST_ANSWER = 1 << 20  # bytes; a collector says how many spans it rejects, and why
_NAMES = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")
"""Variables for traces alone come first."""


class SendError(Exception):
    """A batch did not reach the collector, or was refused there."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether the environment asks for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp" and bool(_said(environment, "ENDPOINT"))


class Endpoint:
    """A collector: its URL, and the settings for sending to it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.grpc = _said(environment, "PROTOCOL") == "grpc"
        own = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
        general = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        self.url = own or (general if self.grpc else general.rstrip("/") + _PATH)
        """The whole URL. The variable for all signals lacks HTTP's path /v1/traces; the one for traces has it."""
        self.gzip = _said(environment, "COMPRESSION") == "gzip"

    @property
    def timeout(self) -> float:
        """Return how many seconds a batch may take; the variable is in milliseconds, by default 10,000."""
        try:
            milliseconds = int(_said(self._environment, "TIMEOUT") or _MILLISECONDS)
        except ValueError:
            milliseconds = _MILLISECONDS
        return min(max(milliseconds, 1) / 1000, _LONGEST)

    def send(self, body: bytes) -> bytes:
        """Send an encoded request and return the start of the encoded answer. Raises SendError."""
        self._check()
        return self._send_by_grpc(body) if self.grpc else self._send_by_http(body)

    def _check(self) -> None:
        """Refuse a URL that carries a password, before any error shows it, and one of another protocol."""
        scheme, _, rest = self.url.rpartition("://")
        if "@" in rest.partition("/")[0]:
            raise SendError(
                "the endpoint contains a user: credentials belong into OTEL_EXPORTER_OTLP_HEADERS"
            )
        if not self.grpc and scheme.lower() not in ("http", "https"):
            raise SendError(f"{self.url}: expected http:// or https://")

    def _send_by_http(self, body: bytes) -> bytes:
        import urllib.request  # late: 40 ms, in the process that sends
        from http.client import HTTPException

        headers = {"Content-Type": "application/x-protobuf", **self._headers()}
        if self.gzip:
            import gzip

            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        try:
            request = urllib.request.Request(self.url, body, headers)
            with urllib.request.urlopen(request, timeout=self.timeout, context=self._tls()) as answer:
                read: bytes = answer.read(_MOST_ANSWER)
        except (OSError, ValueError, HTTPException) as error:
            raise SendError(f"{self.url}: {error}") from None
        return read

    def _send_by_grpc(self, body: bytes) -> bytes:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read at import
        import grpc  # late: 40 ms and 20 MiB, in the process that sends

        scheme, _, target = self.url.rpartition("://")
        if scheme == "http" or (not scheme and _said(self._environment, "INSECURE").lower() == "true"):
            channel = grpc.insecure_channel(target)
        else:
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(self._certificate()))
        metadata = tuple((name.lower(), value) for name, value in self._headers().items())
        compression = grpc.Compression.Gzip if self.gzip else None
        try:
            export = channel.unary_unary(EXPORT, lambda data: data, lambda data: data)
            answer: bytes = export(body, timeout=self.timeout, metadata=metadata, compression=compression)
        except grpc.RpcError as error:
            raise SendError(f"{self.url}: {error.details()}") from None
        return answer

    def _headers(self) -> dict[str, str]:
        from urllib.parse import unquote  # late: as above

        pairs = (pair.partition("=") for pair in _said(self._environment, "HEADERS").split(","))
        return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs if name.strip()}

    def _certificate(self) -> bytes | None:
        path = _said(self._environment, "CERTIFICATE")
        if not path:
            return None
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise SendError(f"OTEL_EXPORTER_OTLP_CERTIFICATE: {error}") from None

    def _tls(self) -> SSLContext | None:
        """Return the certificates to check the collector's with, None for plain HTTP and the system's authorities."""
        certificate = self._certificate()
        if certificate is None:
            return None
        import ssl

        return ssl.create_default_context(cadata=certificate.decode())


def _said(environment: Mapping[str, str], name: str) -> str:
    """Return the value of a setting, "" if there is none; an empty variable counts as unset."""
    return next(filter(None, (environment.get(prefix + name, "") for prefix in _NAMES)), "")
