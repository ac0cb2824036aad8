"""wasi:sockets on our own WASI: a guest's Python uses its standard library, which uses the component's imports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from devtools.serving import free_port, shell


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server on 127.0.0.1 that sends back one connection's data, in upper case."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_a_client_sends_and_receives(echo_port: int) -> None:
    printed = shell(f"""
        with socket.create_connection(("127.0.0.1", {echo_port})) as connection:
            connection.sendall(b"hello" * 100_000)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while data := connection.recv(65536):
                received += data
        print(received == b"HELLO" * 100_000, connection.family == socket.AF_INET)
    """)
    assert printed == "True True\n"


def test_a_server_accepts_one_client_after_another() -> None:
    port = free_port()
    replies: list[bytes] = []

    def call_twice() -> None:
        replies.extend(_call(port, b"number %d" % number) for number in range(2))

    client = threading.Thread(target=call_twice)
    client.start()
    printed = shell(f"""
        listener = socket.socket()
        listener.bind(("127.0.0.1", {port}))
        listener.listen()
        for _ in range(2):
            connection, peer = listener.accept()
            with connection:
                connection.sendall(b"you said " + connection.recv(100))
            print(peer[0])
    """)
    client.join(10)
    assert printed == "127.0.0.1\n127.0.0.1\n"
    assert replies == [b"you said number 0", b"you said number 1"]


def _call(port: int, data: bytes) -> bytes:
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        except ConnectionRefusedError:
            continue
        with connection:
            connection.sendall(data)
            return connection.recv(100)


def test_a_refused_connection_is_said_to_be() -> None:
    printed = shell(f"""
        try:
            socket.create_connection(("127.0.0.1", {free_port()}))
        except ConnectionRefusedError:
            print("refused")
    """)
    assert printed == "refused\n"


def test_a_port_in_use_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        printed = shell(f"""
            try:
                socket.socket().bind(("127.0.0.1", {taken.getsockname()[1]}))
            except OSError as error:
                print(error.strerror)
        """)
    assert printed == "Address in use\n"


def test_datagrams_go_both_ways() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(20)

        def reply() -> None:
            data, sender = peer.recvfrom(1000)
            peer.sendto(data[::-1], sender)

        thread = threading.Thread(target=reply)
        thread.start()
        printed = shell(f"""
            here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            here.sendto(b"datagram", ("127.0.0.1", {peer.getsockname()[1]}))
            data, sender = here.recvfrom(100)
            print(data, sender[0])
        """)
        thread.join(10)
    assert printed == "b'margatad' 127.0.0.1\n"


def test_names_are_looked_up_with_the_containers_files() -> None:
    printed = shell("""
        print(socket.gethostbyname("localhost"))
        try:
            socket.getaddrinfo("no-such-host.invalid", 80)
        except socket.gaierror as error:
            print("unknown")
    """)
    assert printed == "127.0.0.1\nunknown\n"


def test_ipv6_works() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        thread = threading.Thread(target=_accept_and_close, args=(listener,))
        thread.start()
        printed = shell(f"""
            with socket.create_connection(("::1", {listener.getsockname()[1]})) as connection:
                print(connection.getpeername()[0], connection.recv(1))
        """)
        thread.join(10)
    assert printed == "::1 b''\n"


def _accept_and_close(listener: socket.socket) -> None:
    listener.accept()[0].close()


def test_many_things_are_waited_for_at_once() -> None:
    printed = shell("""
        soon, late = monotonic_clock.subscribe_duration(50_000_000), monotonic_clock.subscribe_duration(10**11)
        listener = tcp_create_socket.create_tcp_socket(network.IpAddressFamily.IPV4)
        here = network.IpSocketAddress_Ipv4(network.Ipv4SocketAddress(0, (127, 0, 0, 1)))
        listener.start_bind(instance_network.instance_network(), here)
        listener.finish_bind()
        listener.start_listen()
        listener.finish_listen()
        print(poll.poll([late, listener.subscribe(), soon]))
    """)
    assert printed == "[2]\n"


def test_options_are_the_sockets_own() -> None:
    printed = shell("""
        sock = tcp_create_socket.create_tcp_socket(network.IpAddressFamily.IPV4)
        sock.set_keep_alive_enabled(True)
        sock.set_keep_alive_idle_time(7_000_000_000)
        sock.set_hop_limit(42)
        print(sock.keep_alive_enabled(), sock.keep_alive_idle_time(), sock.hop_limit())
        try:
            sock.set_hop_limit(0)
        except Err as error:
            print(error.value.name)
        try:
            sock.accept()
        except Err as error:
            print(error.value.name)
    """)
    assert printed == "True 7000000000 42\nINVALID_ARGUMENT\nINVALID_STATE\n"


def test_the_network_can_be_switched_off() -> None:
    printed = shell(
        """
        try:
            socket.socket().bind(("127.0.0.1", 0))
        except OSError as error:
            print(error.strerror)
        """,
        annotations={"io.runwasi.network": "off"},
    )
    assert printed == "Permission denied\n"
