"""The metrics of a node, as Prometheus scrapes them."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.containerd import HOSTS, WASMTIME, Containerd, running_containerd
from devtools.waiting import until
from runwasi.executor.telemetry.metric_events import OVERRIDE
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.support.runtime import PROGRAMS

_Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


class _Metrics:
    def __init__(self, path: Path) -> None:
        self.path = path

    def scrape(self) -> _Values:
        connection = _Connection(self.path)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def _value(values: _Values, name: str, **labels: str) -> float:
    return values.get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def metrics(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Metrics]:
    monkeypatch.setenv(OVERRIDE, str(folder / "metrics"))
    path = folder / "metrics.sock"
    process = subprocess.Popen([PROGRAMS["runwasi"], "metrics", "--listen", f"unix:{path}"])
    until(path.exists, bool)
    yield _Metrics(path)
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM


def test_starts_exits_traps_failures_and_containers_are_counted(
    metrics: _Metrics,
    session_name: str,
    folder: Path,
    busybox_image: Path,
    demo_image: Path,
    new_id: Callable[[], str],
) -> None:
    with running_containerd(
        folder, HOSTS["1.6"], namespace=session_name, images=[busybox_image, demo_image]
    ) as containerd:
        _run(containerd, DEMO_IMAGE, new_id(), "/wasi-demo-app.wasm", "exit", "134")
        _run(containerd, BUSYBOX_IMAGE, new_id(), "sh", "-c", "exit 3")
        _run(containerd, BUSYBOX_IMAGE, new_id(), "/no/such/program")
        with containerd.task(WASMTIME, BUSYBOX_IMAGE, new_id(), "sleep", "1000"):
            values = until(
                metrics.scrape, lambda seen: _value(seen, "runwasi_start_seconds_count", kind="native") == 2
            )
    assert _value(values, "runwasi_create_seconds_count", kind="wasm") == 1
    assert _value(values, "runwasi_create_seconds_count", kind="native") == 2
    assert _value(values, "runwasi_exits_total", kind="wasm", status="134") == 1
    assert _value(values, "runwasi_exits_total", kind="native", status="3") == 1
    assert _value(values, "runwasi_guest_traps_total") == 1
    assert _value(values, "runwasi_failures_total", operation="create", step="choose_workload") == 1
    assert sum(value for (name, _), value in values.items() if name == "runwasi_modules_total") == 1
    assert _value(values, "runwasi_containers", namespace=session_name, kind="native", status="running") == 1


def _run(containerd: Containerd, image: str, container: str, *command: str) -> None:
    containerd.ctr("run", "--rm", "--runtime", WASMTIME, image, container, *command, check=False)
    containerd.ctr("container", "delete", container, check=False)


LINES = (
    *(
        "",
        "create",
        "create wasm",
        "create wasm soon",
        "create wasm nan",
        "create wasm inf",
        "create wasm -1",
    ),
    *(
        "start native 1 2",
        "exit wasm ok",
        "exit wasm",
        "failed",
        "module a b",
        "of a later version",
        "\xff\0",
    ),
)


def test_lines_that_are_no_events_are_ignored(metrics: _Metrics, folder: Path) -> None:
    events = folder / "metrics/events"
    until(events.exists, bool)
    with events.open("wb", buffering=0) as fifo:
        fifo.write(b"x" * 60_000)  # no line is so long, and this one never ends
        for line in (*LINES, "exit wasm 134"):
            fifo.write(f"\n{line}\n".encode())
    values = until(metrics.scrape, lambda seen: _value(seen, "runwasi_guest_traps_total"))
    assert _value(values, "runwasi_exits_total", kind="wasm", status="134") == 1
    assert not [name for name, _ in values if name.startswith(("runwasi_create", "runwasi_start"))]


def test_a_silent_scraper_keeps_no_other_from_being_served(metrics: _Metrics) -> None:
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(metrics.path))
    assert _value(metrics.scrape(), "runwasi_pods") >= 0
    silent.close()


def test_an_address_that_others_could_reach_is_refused() -> None:
    done = subprocess.run(
        [PROGRAMS["runwasi"], "metrics", "--listen", "0.0.0.0:9469"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'invalid value "0.0.0.0:9469" for --listen' in done.stderr
