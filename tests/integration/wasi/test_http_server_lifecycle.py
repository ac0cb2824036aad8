"""The HTTP server's processes: how many, how they end, what they listen on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from devtools.components.build import component, wasm_tools
from devtools.serving import Serving, run, script, serving, taking_at_most
from devtools.waiting import until
from tests.support.quiet import waits_for_events_alone

SLOW = "monotonic_clock.subscribe_duration(700_000_000).block()"
ENDLESS = "monotonic_clock.subscribe_duration(3600 * 10**9).block()"
BUSY = "end = time.time() + 2\nwhile time.time() < end: pass"


def _get(server: Serving, code: str, into: list[bytes], end: bytes = b"done") -> threading.Thread:
    """Begin a request, whose guest begins to respond, runs the code, and ends; add the body to `into`."""
    lines = [
        "body = begin(out)",
        "with body.write() as stream:",
        "    stream.blocking_write_and_flush(b'begun')",
        "    stream.blocking_write_and_flush(b', ')",  # waits until all has been sent, as the first may not
        *(f"    {line}" for line in code.splitlines()),
        f"    stream.blocking_write_and_flush({end!r})",
        "http.OutgoingBody.finish(body, None)",
    ]
    client = server.client()
    client.request("GET", "/", headers=script("\n".join(lines)))
    response = client.getresponse()  # its head has come: the guest is at work

    def read() -> None:
        try:
            into.append(response.read())
        except (OSError, HTTPException):
            into.append(b"cut off")
        finally:
            client.close()

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def _drained(server: Serving) -> None:
    """Tell the server to end, and wait until its workers know: they end idle connections then."""
    with server.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Script: %s\r\n\r\n" % _ANSWER)
        while not idle.recv(4096).endswith(b"answer"):
            pass
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""


_ANSWER = script("answer(out, b'answer')")["x-script"].encode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once_with_0(number: signal.Signals) -> None:
    with serving("hello", workers=2) as server, server.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.recv(1000)
        with taking_at_most(0.5):
            assert server.end(number) == 0


def test_requests_in_work_are_finished_before_the_end() -> None:
    bodies: list[bytes] = []
    with serving("server") as server:
        thread = _get(server, SLOW, bodies)
        assert server.end(within=5) == 0
        thread.join()
    assert bodies == [b"begun, done"]


def test_no_new_connection_is_taken_while_ending() -> None:
    bodies: list[bytes] = []
    with serving("server") as server:
        thread = _get(server, SLOW, bodies)
        _drained(server)
        with server.connect() as late:
            late.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            thread.join()
            assert server.process.wait(5) == 0
            with contextlib.suppress(ConnectionResetError):
                assert late.recv(1) == b""
    assert bodies == [b"begun, done"]


def test_a_second_signal_ends_it_at_once() -> None:
    bodies: list[bytes] = []
    with serving("server") as server:
        thread = _get(server, ENDLESS, bodies)
        _drained(server)
        assert server.end() == 128 + signal.SIGTERM
        thread.join()
    assert bodies == [b"cut off"]


def test_the_annotation_sets_the_number_of_workers() -> None:
    with serving("hello", workers=3) as server:
        assert len(server.workers()) == 3


def test_busy_workers_leave_connections_to_the_others() -> None:
    """One worker computes; all that comes meanwhile is answered by the other."""
    with serving("server", workers=2) as server:
        bodies: list[bytes] = []
        threads = [_get(server, BUSY, bodies, b"computed"), *(_get(server, "", bodies) for _ in range(3))]
        for thread in threads:
            thread.join()
    assert bodies == [b"begun, done"] * 3 + [b"begun, computed"]


def test_it_serves_where_addresses_are_scarce() -> None:
    with serving("hello", address_space=4 << 30) as server:
        client = server.client()
        client.request("GET", "/")
        assert client.getresponse().read() == b"Hello, world!\n"
        client.close()


def _is_served(name: str | Path, **how: object) -> bool:
    with serving(name, **how) as server:  # type: ignore[arg-type]
        client = server.client()
        client.request("GET", "/")
        body = client.getresponse().read()
        client.close()
    return body == b"Hello, world!\n"


def test_a_bound_on_tables_counts_the_guests_own() -> None:
    assert _is_served("hello", annotations={"io.runwasi.tables.max": "2"})


def test_a_component_too_large_for_the_pool_is_served_without_it(tmp_path: Path) -> None:
    text = wasm_tools("print", component("hello")).decode()
    table = "(table (;0;) 1 1 funcref)"
    assert table in text
    large = tmp_path / "large.wasm"
    large.write_bytes(
        wasm_tools("parse", stdin=text.replace(table, table + " (table 1 1 funcref)" * 9).encode())
    )
    assert _is_served(large)


def test_a_worker_that_dies_ends_the_server() -> None:
    with serving("hello", workers=2) as server:
        os.kill(server.workers()[0], signal.SIGKILL)
        assert server.process.wait(5) == 128 + signal.SIGKILL


def test_an_address_in_use_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("hello", env=[f"WASMTIME_HTTP_PROXY_SOCKET_ADDR={address}"])
    assert result.returncode == 126
    assert f"cannot listen on {address}: Address already in use" in result.stderr


@pytest.mark.parametrize(
    "variable",
    [
        "WASMTIME_HTTP_PROXY_SOCKET_ADDR=nonsense",
        "WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:99999",
        "WASMTIME_HTTP_PROXY_BACKLOG=-1",
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(variable: str) -> None:
    result = run("hello", env=[variable])
    assert result.returncode == 126
    assert f"{variable.partition('=')[0]}: " in result.stderr


def test_the_parent_waits_for_nothing_but_signals() -> None:
    with serving("hello") as server:
        until(lambda: waits_for_events_alone(server.process.pid), bool)
