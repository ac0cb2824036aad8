"""Components in real containers: all namespaces, no privileges, the filter for wasm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from devtools.bundle import Bundle
from devtools.components.build import component
from devtools.serving import free_port, script, taking_at_most
from devtools.waiting import until
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime


def _bundle(bundle: BundleMaker, name: str, *args: str) -> Bundle:
    return bundle(["/app.wasm", *args], files={"/app.wasm": component(name).read_bytes()})


def test_a_command_runs(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = _bundle(bundle, "program", "args", "one", "two")
    assert runwasi("run", "--bundle", made.path, container_id).stdout == "one\ntwo\n"


def test_a_trap_ends_the_container_with_134(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = _bundle(bundle, "program", "trap")
    result = runwasi("run", "--bundle", made.path, container_id, check=False)
    assert result.returncode == 134
    assert "wasm trap: wasm `unreachable` instruction executed" in result.stderr


def test_a_refusal_fails_create(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = _bundle(bundle, "functions")
    result = runwasi("create", "--bundle", made.path, container_id, check=False)
    assert result.returncode == 1
    assert "it exports neither wasi:cli/run nor wasi:http/incoming-handler" in result.stderr


def test_sockets_are_those_of_the_containers_network(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = _bundle(bundle, "shell")
    code = b"""
listener = socket.create_server(("127.0.0.1", 0))
with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
    client.sendall(b"within")
    print(server.recv(100), os.listdir("/"))
"""
    output = runwasi("run", "--bundle", made.path, container_id, stdin=code).stdout
    assert "b'within'" in output
    assert "app.wasm" in output


def test_a_server_serves_and_ends(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    port = free_port()
    made = _bundle(bundle, "server")
    made.process["env"] += [f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{port}"]
    made.config["annotations"] = {"io.runwasi.http.workers": "2"}
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    inside = _request_inside(container.pid, port)
    assert inside == "200 from within"
    os.kill(container.pid, signal.SIGTERM)
    with taking_at_most(2):
        until(lambda: runwasi.state(container_id)["status"], lambda status: status == "stopped")


def _request_inside(pid: int, port: int) -> str:
    """Send a request from within the container's network namespace."""
    fields = script("answer(out, b'from within')")
    code = (
        "import http.client\n"
        f"client = http.client.HTTPConnection('127.0.0.1', {port}, timeout=20)\n"
        "import time\n"
        "for _ in range(100):\n"
        "    try:\n"
        f"        client.request('GET', '/', headers={fields!r})\n"
        "        break\n"
        "    except ConnectionRefusedError:\n"
        "        time.sleep(0.1)\n"
        "response = client.getresponse()\n"
        "print(response.status, response.read().decode())\n"
    )
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
