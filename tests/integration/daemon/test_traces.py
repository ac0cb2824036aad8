"""One trace leads from containerd's call to the container's end, whoever serves the pod, and holds nobody up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devtools.containerd import HOSTS, SHARED, WASMTIME, running_containerd
from devtools.daemon import Daemon
from tests.integration.conftest import DEMO_IMAGE
from tests.support.collector import PARENT, RECORDED, TASK, TRACE, Collector, named, sending_to
from tests.support.shim import EventSink, RunningShim, Shim, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import BundleMaker


@pytest.fixture(params=["http/protobuf", "grpc"])
def each_collector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that shims send to, by HTTP and by gRPC in turn."""
    with sending_to(request.param, monkeypatch) as collector:
        yield collector


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that shims send to."""
    with sending_to("http/protobuf", monkeypatch) as collector:
        yield collector


@pytest.fixture(params=["runwasi", "shared"], ids=["normal", "shared"])
def daemon_shim(
    request: pytest.FixtureRequest, session_name: str, sink: EventSink, daemon: Daemon
) -> Iterator[Shim]:
    """A shim whose server the daemon forks, and one whose pods it serves itself."""
    assert daemon.process.poll() is None
    shim = Shim(request.param, session_name, sink)
    yield shim
    shim.clean()


def _end(task: RunningShim) -> None:
    task.call("Delete")
    task.call("Shutdown")
    assert task.ended()


def test_one_trace_leads_from_containerds_call_to_the_containers_end(
    each_collector: Collector, daemon_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(daemon_shim, container_id, bundle(["sh", "-c", "exit 3"])) as task:
        task.peer.metadata = RECORDED
        pid = task.run()
        assert task.call("Wait").exit_status == 3
        task.peer.metadata = {}
        _end(task)

    create, start, container, mount, fork = (
        each_collector.wait(named(name)) for name in ("Create", "Start", "container", "mount_rootfs", "fork")
    )
    assert {span.trace for span in (create, start, container, mount, fork)} == {TRACE}
    assert (create.parent, start.parent) == (PARENT, PARENT)
    assert (mount.parent, mount.attributes["runwasi.process"]) == (create.id, "child")
    assert (fork.parent, fork.attributes["runwasi.process"]) == (create.id, "parent")
    assert create.began <= fork.began <= mount.began <= mount.ended <= create.ended <= start.began
    assert (container.parent, container.error) == (start.id, "exit status 3")
    assert start.began <= container.began <= container.ended
    assert container.attributes == {
        "container.id": container_id,
        "process.pid": pid,
        "process.exit.code": 3,
        "runwasi.kind": "native",
    }
    assert create.attributes["container.id"] == container_id
    assert create.resource["service.name"] == "containerd-shim-wasmtime-v1"
    assert create.resource["service.instance.id"] == container_id


@pytest.mark.parametrize("runtime", [WASMTIME, SHARED], ids=["normal", "shared"])
def test_a_trace_of_containerd_goes_on_in_the_shim(
    collector: Collector,
    daemon: Daemon,
    session_name: str,
    folder: Path,
    demo_image: Path,
    container_id: str,
    runtime: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    assert daemon.process.poll() is None
    with running_containerd(
        folder / "c", HOSTS["2"], namespace=session_name, images=[demo_image]
    ) as containerd:
        done = containerd.ctr(
            "run", "--rm", "--runtime", runtime, DEMO_IMAGE, container_id, "/wasi-demo-app.wasm", "exit", "7",
            check=False,
        )  # fmt: skip
        assert done.returncode == 7
        container = collector.wait(named("container"))
        start = collector.wait(lambda span: span.id == container.parent)
        caller = collector.wait(lambda span: span.id == start.parent)

    assert (container.attributes["runwasi.kind"], container.attributes["process.exit.code"]) == ("wasm", 7)
    assert start.name.endswith(".Task/Start")
    services = [span.resource["service.name"] for span in (caller, start)]
    assert services == ["containerd", "containerd-shim-wasmtime-v1"]
    assert {caller.trace, start.trace} == {container.trace}


def test_a_collector_that_does_not_answer_holds_nothing(
    collector: Collector, daemon_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    collector.hold()
    with running(daemon_shim, container_id, bundle(["true"])) as task:
        collector.wait_for_senders()
        task.peer.metadata = RECORDED
        task.run()
        assert task.call("Wait").exit_status == 0
        _end(task)
    assert collector.spans == []
    collector.go_on()
    assert collector.wait(named("container")).trace == TRACE


def test_a_daemon_that_is_replaced_sends_its_last_spans_and_goes_on_with_those_of_its_containers(
    collector: Collector, daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(shared_shim, container_id, bundle(["sleep", "1000"])) as task:
        task.peer.metadata = RECORDED
        task.run()
        collector.hold()
        task.call("State")
        daemon.reload()
        collector.wait_for_senders()
        collector.go_on()
        collector.wait(named("State"))
        task.call("Kill", signal=9)
        container = collector.wait(named("container"))
        assert (container.trace, container.error) == (TRACE, "exit status 137")
        assert collector.wait(lambda span: span.id == container.parent).name == f"{TASK}/Start"
