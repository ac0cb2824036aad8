"""metrics: counts the events of the node's shims, and serves Prometheus these counts and the node's containers."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections import Counter as Tally
from math import inf
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from runwasi.cli.command import Command
from runwasi.cli.node_containers import NodeSampler
from runwasi.cli.options import Option, UsageError
from runwasi.executor.errors import ContainerError
from runwasi.executor.telemetry.metric_events import events_path
from runwasi.linux.sockets import listen
from runwasi.wasi.http.response_counts import FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import CollectorRegistry, Metric

    from runwasi.cli.node_containers import Sample
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings

_UNIX = "unix:"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TRAP = 134
_PATIENCE = 2.0  # seconds for a peer to send its request


def _metrics(given: Given, settings: Settings) -> int:
    try:
        import prometheus_client  # late: only here, and optional
    except ImportError:
        why = "prometheus-client is not installed: make install EXTRAS=metrics, or pip install prometheus-client"
        raise ContainerError(why) from None
    listener = _listener(given.text("listen"))
    registry = prometheus_client.CollectorRegistry()
    registry.register(Containers(settings))
    counts = Counts(registry)
    events = _open_events()
    server = _ScrapeServer(listener)
    server.set_app(prometheus_client.make_wsgi_app(registry))
    rest = b""
    while True:
        ready, _, _ = select.select([events, listener.fileno()], [], [])
        if events in ready:
            *lines, rest = (rest + os.read(events, 1 << 16)).split(b"\n")
            rest = rest[-select.PIPE_BUF :]  # no line is longer
            for line in lines:
                counts.take(line.decode(errors="replace"))
        if listener.fileno() in ready:
            server.handle_request()


class Counts:
    """The counters of a node since this process began."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Histogram  # late: as above

        self._create = Histogram(
            "runwasi_create_seconds",
            "Time to create a container",
            ["kind"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._start = Histogram(
            "runwasi_start_seconds",
            "Time to start a container",
            ["kind"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._failures = Counter(
            "runwasi_failures", "Creations and starts that failed", ["operation", "step"], registry=registry
        )
        self._exits = Counter(
            "runwasi_exits", "First processes that ended", ["kind", "status"], registry=registry
        )
        self._traps = Counter(
            "runwasi_guest_traps", "Guests that ended by a trap (status 134)", registry=registry
        )
        self._modules = Counter(
            "runwasi_modules",
            "Modules taken from the node's cache or compiled",
            ["source"],
            registry=registry,
        )

    def take(self, line: str) -> None:
        """Count an event; a line that is none is ignored, as it may come from a later version."""
        try:
            self._count(line.split())
        except ValueError:  # not the numbers that we know
            return

    def _count(self, words: list[str]) -> None:
        match words:
            case ["create", kind, seconds]:
                duration = _duration(seconds)
                self._create.labels(kind).observe(duration)
            case ["start", kind, seconds]:
                duration = _duration(seconds)
                self._start.labels(kind).observe(duration)
            case ["failed", operation, step]:
                self._failures.labels(operation, step).inc()
            case ["exit", kind, status]:
                trapped = kind == "wasm" and int(status) == _TRAP
                self._exits.labels(kind, status).inc()
                self._traps.inc(trapped)
            case ["module", source]:
                self._modules.labels(source).inc()


def _duration(text: str) -> float:
    """Return seconds. Raises ValueError for what no time can be, which would spoil the sum for good."""
    seconds = float(text)
    if not 0 <= seconds < inf:
        raise ValueError(text)
    return seconds


class Containers:
    """Collects how many containers there are when somebody asks."""

    def __init__(self, settings: Settings) -> None:
        self._sampler = NodeSampler(settings)

    def collect(self) -> Iterator[Metric]:
        """Yield the families of one scrape."""
        from prometheus_client.core import GaugeMetricFamily  # late: as above

        samples = self._sampler.sample()
        family = GaugeMetricFamily(
            "runwasi_containers", "Containers of this node", labels=["namespace", "kind", "status"]
        )
        tally = Tally((sample.namespace, sample.kind, sample.status) for sample in samples)
        for labels, number in sorted(tally.items()):
            family.add_metric(labels, number)
        yield family
        yield from _http(samples)
        pods = {(sample.namespace, sample.pod) for sample in samples if sample.pod != "-"}
        yield GaugeMetricFamily("runwasi_pods", "Pods of this node with a container of ours", value=len(pods))


def _http(samples: Sequence[Sample]) -> Iterator[Metric]:
    """Yield what the HTTP servers among the containers have answered."""
    from prometheus_client.core import CounterMetricFamily  # late: as above

    labels = ["namespace", "pod", "container"]
    responses = CounterMetricFamily(
        "runwasi_http_responses", "Responses of components", labels=[*labels, "class"]
    )
    failures = CounterMetricFamily(
        "runwasi_http_guest_failures", "Requests whose guest trapped or took too long", labels=labels
    )
    for sample in samples:
        if sample.served is not None:
            values = [sample.namespace, sample.pod, sample.id]
            failures.add_metric(values, sample.served[FAILED])
            for number in range(1, 6):
                responses.add_metric([*values, f"{number}xx"], sample.served[number])
    yield responses
    yield failures


def _open_events() -> int:
    """Make the FIFO that shims write to, and open both its ends: it never ends. Raises OSError."""
    path = events_path()
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def _listener(address: str) -> socket.socket:
    """Listen at unix:PATH or at HOST:PORT. Raises UsageError for an address that others could reach."""
    if address.startswith(_UNIX):
        path = address.removeprefix(_UNIX)
        if os.path.exists(path):
            os.unlink(path)
        return socket.socket(fileno=listen(path))
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not _is_loopback(host.strip("[]")):
        raise UsageError(
            f'invalid value "{address}" for --listen: unix:PATH or a loopback address with a port, such as'
            " 127.0.0.1:9469, as metrics have no password"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family)


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address  # late: only here

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _ScrapeHandler(WSGIRequestHandler):
    """Handles a scrape, without a line on standard error for each, and with little patience for a silent peer."""

    timeout = _PATIENCE

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


class _ScrapeServer(WSGIServer):
    """Serves scrapes one by one on a socket that listens already, of either family."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("", 0), _ScrapeHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; a peer on a Unix socket has no address, and the library wants one."""
        return self.socket.accept()[0], ("local", 0)


COMMANDS = {
    "metrics": Command(
        "metrics",
        "serve this node's metrics to Prometheus",
        _metrics,
        description="""\
Counts what the shims of this node tell it while it runs: creations and starts
with their time, failures with their step, exits, traps, and modules found in
the cache. Serves these, and the number of containers and pods, at /metrics.""",
        options=(
            Option(
                "listen",
                "unix:PATH, or a loopback address with a port",
                default="127.0.0.1:9469",
                value="ADDRESS",
            ),
        ),
    )
}
