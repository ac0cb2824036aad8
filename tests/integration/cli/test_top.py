"""top: the containers of a node and what they use."""

from __future__ import annotations

import http.client
import json
import os
import pty
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from devtools.components.build import component
from devtools.containerd import WASMTIME, Containerd
from devtools.serving import free_port
from devtools.waiting import until
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE, BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import PROGRAMS, Runtime


def _top(*options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [PROGRAMS["runwasi"], *options, "top", "--format", "json"], capture_output=True, text=True, check=True
    )
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


def test_wasm_and_native_containers_of_containerd_are_shown_with_their_kind(
    containerd: Containerd, new_id: Callable[[], str]
) -> None:
    wasm, native = new_id(), new_id()
    with (
        containerd.task(WASMTIME, DEMO_IMAGE, wasm, "/wasi-demo-app.wasm", "daemon"),
        containerd.task(
            WASMTIME, BUSYBOX_IMAGE, native, "sleep", "1000", options=("--memory-limit", "67108864")
        ),
    ):
        shown = {entry["id"]: entry for entry in _top() if entry["namespace"] == containerd.namespace}
    assert (shown[wasm]["kind"], shown[wasm]["engine"]) == ("wasm", "wasmtime")
    assert (shown[native]["kind"], shown[native]["engine"]) == ("native", "-")
    assert shown[native]["memoryLimitBytes"] == 67108864
    assert shown[native]["pids"] == 1
    assert shown[wasm]["status"] == shown[native]["status"] == "running"


def test_a_busy_container_uses_a_cpu_and_a_sleeping_one_does_not(
    runwasi: Runtime, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    busy, idle = new_id(), new_id()
    Detached(runwasi, bundle(["sh", "-c", "while :; do :; done"]), busy).run()
    Detached(runwasi, bundle(["sleep", "1000"]), idle).run()
    shown = json.loads(runwasi("top", "--format", "json", "--sort", "cpu").stdout)
    for container in (busy, idle):
        runwasi("delete", "--force", container)
    assert [entry["id"] for entry in shown] == [busy, idle]
    assert shown[0]["cpuPercent"] > 1 > shown[1]["cpuPercent"]


def test_the_requests_that_a_component_has_answered_are_shown(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["/hello.wasm"], files={"/hello.wasm": component("hello").read_bytes()})
    port = free_port()
    made.process["env"] += [f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{port}"]
    made.config["annotations"] = {"io.runwasi.http.workers": "2"}
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "network"]
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    until(lambda: _asked(port), bool)
    assert _asked(port)
    [shown] = json.loads(runwasi("top", "--format", "json").stdout)
    line = runwasi("top").stdout.splitlines()[1]
    runwasi("kill", container_id, "KILL")
    container.wait()
    assert shown["httpResponses"] == {"failed": 0, "1xx": 0, "2xx": 2, "3xx": 0, "4xx": 0, "5xx": 0}
    assert line.split()[-3] == "2"


def _asked(port: int) -> bool:
    """Have the server answer once; False while it does not listen."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("GET", "/")
        return client.getresponse().read() == b"Hello, world!\n"
    except ConnectionRefusedError:
        return False
    finally:
        client.close()


def test_a_table_is_plain_when_nobody_watches(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    Detached(runwasi, bundle(["sleep", "1000"]), container_id).run()
    title, line = runwasi("top").stdout.splitlines()
    runwasi("delete", "--force", container_id)
    assert title.split()[:4] == ["NAMESPACE", "POD", "CONTAINER", "KIND"]
    assert line.split()[:6] == ["-", "-", container_id, "native", "-", "running"]
    assert line.endswith("sleep 1000")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_command_writes_nothing_on_the_readers_terminal(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, terminal: bool
) -> None:
    Detached(runwasi, bundle(["sh", "-c", "sleep 1000", "\x1b]0;\x07\n\x9b"]), container_id).run()
    command = [str(word) for word in runwasi.command("top", "--once")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "400"}
    shown = subprocess.run(
        ["script", "-qec", shlex.join(command), "/dev/null"] if terminal else command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.decode()
    runwasi("delete", "--force", container_id)
    assert r"sh -c sleep 1000 \x1b]0;\x07\n\x9b" in shown
    assert len(shown.splitlines()) == 2


def test_the_live_table_takes_keys_and_ends_with_q(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    Detached(runwasi, bundle(["sleep", "1000"]), container_id).run()
    master, terminal = pty.openpty()
    command = runwasi.command("top", "--interval", "100ms")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "20"}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    seen = bytearray()

    def read() -> bytes:
        seen.extend(os.read(master, 65536))
        return bytes(seen)

    until(read, lambda text: container_id.encode() in text and b"by cpu" in text)
    os.write(master, b"m")
    until(read, lambda text: b"by memory" in text)
    os.write(master, b"q")
    assert process.wait(20) == 0
    os.close(master)
    runwasi("delete", "--force", container_id)


def test_an_order_that_does_not_exist_is_refused_with_those_that_do(runwasi: Runtime) -> None:
    done = runwasi("top", "--sort", "beauty", check=False)
    assert done.returncode == 1
    assert 'invalid value "beauty" for --sort: one of cpu, memory, pids, age, name' in done.stderr
