"""Spans of a shim's calls, of their steps and of the processes they start arrive at the collector that is named."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from devtools.ttrpc import CallError
from devtools.waiting import until
from runwasi.oci.encode import dumps
from runwasi.oci.process import Process
from runwasi.wire.messages.well_known import Any as Packed
from tests.support.collector import PARENT, RECORDED, TRACE, Collector, named, sending_to
from tests.support.shim import Shim, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import BundleMaker

_NOT_RECORDED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that shims send to."""
    with sending_to("http/protobuf", monkeypatch) as collector:
        yield collector


def test_an_exec_is_a_span_below_its_start(
    collector: Collector, our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["sleep", "1000"])) as task:
        task.run()
        spec = Process(args=("sh", "-c", "exit 4"), cwd="/", env=("PATH=/bin",))
        process = Packed(
            type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=dumps(spec).encode()
        )
        task.call("Exec", exec_id="beside", spec=process)
        task.peer.metadata = RECORDED
        task.call("Start", exec_id="beside")
        assert task.call("Wait", exec_id="beside").exit_status == 4
        beside = collector.wait(named("exec"))
        start = collector.wait(lambda span: span.id == beside.parent)
    assert (start.parent, beside.trace) == (PARENT, TRACE)
    assert (beside.attributes["runwasi.exec.id"], beside.attributes["process.exit.code"]) == ("beside", 4)


def test_a_create_that_fails_shows_its_error_and_how_far_it_came(
    collector: Collector, our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["absent"])) as task:
        task.peer.metadata = RECORDED
        with pytest.raises(CallError):
            task.create()
        create, step = (collector.wait(named(name)) for name in ("Create", "mount_rootfs"))
        assert create.error
        assert "absent" in create.error
        assert step.parent == create.id


def test_a_caller_that_does_not_record_its_trace_gets_no_spans(
    collector: Collector, our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["true"])) as task:
        task.peer.metadata = _NOT_RECORDED
        task.run()
        task.call("Wait")
        task.peer.metadata = {"traceparent": f"00-{TRACE[::-1]}-{PARENT}-01"}
        task.call("Delete")
        collector.wait(named("Delete"))
    assert not [span for span in collector.spans if span.trace == TRACE]


@pytest.mark.own_server
def test_a_pod_does_without_a_collector_and_its_log_says_so(
    our_shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", nobody)
    made = bundle(["true"])
    with running(our_shim, container_id, made) as task:
        task.run()
        assert task.call("Wait").exit_status == 0
        task.call("Delete")
        until(lambda: our_shim.log(made), lambda log: "cannot send traces" in log)
