"""wasi:sockets/tcp on the container's own sockets: clients and servers."""

from __future__ import annotations

import errno
import os
import select
import socket

from runwasi.wasi.component.interface import Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.poll import Pollable
from runwasi.wasi.io.streams import CHUNK, InputStream, OutputStream, closed, failed
from runwasi.wasi.sockets.addresses import (
    Network,
    error_code,
    family_of,
    from_kernel,
    is_any,
    matches,
    new_socket,
    socket_errors,
    to_kernel,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.sockets.addresses import SocketAddress

tcp = Interface("wasi:sockets/tcp")
tcp_create_socket = Interface("wasi:sockets/tcp-create-socket")

NANO = 1_000_000_000
DEFAULT_BACKLOG = 128


class SocketInput(InputStream):
    """What a connection receives. It and its sibling each have a descriptor, closed with the last of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, length: int) -> bytes:
        """Give what has arrived."""
        if not length:
            return b""
        try:
            data = self._sock.recv(min(length, CHUNK))
        except BlockingIOError:
            return b""
        except OSError as error:
            raise failed(error) from error
        if not data:
            raise closed()
        return data

    def subscribe(self) -> Pollable:
        """Be ready when something has arrived, or the end."""
        return Pollable(self._sock.fileno(), select.POLLIN)

    def drop(self) -> None:
        """Receive no more."""
        self._sock.close()


class SocketOutput(OutputStream):
    """What a connection sends; up to CHUNK bytes wait here while the peer is slower."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held = b""
        self._failure: OSError | None = None

    def check_write(self) -> int:
        """Give the room left."""
        self._send()
        return CHUNK - len(self._held)

    def write(self, contents: bytes) -> None:
        """Send, and hold what the socket does not take."""
        self._held += contents
        self._send()

    def flushed(self) -> bool:
        """Say whether the socket has everything."""
        self._send()
        return not self._held

    def subscribe(self) -> Pollable:
        """Be ready when the socket takes more."""
        return Pollable(self._sock.fileno(), select.POLLOUT)

    def drop(self) -> None:
        """Send what is held as far as the socket takes it now, and no more."""
        try:
            self._send()
        except Err:
            self._held = b""
        self._sock.close()

    def _send(self) -> None:
        if self._failure is not None:
            raise closed()
        if not self._held:
            return
        try:
            self._held = self._held[self._sock.send(self._held) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._failure = error
            raise closed() if error.errno == errno.EPIPE else failed(error) from error


@tcp.resource("tcp-socket")
class TcpSocket(Resource):
    """A socket on its way: unbound, bound, then connecting to one peer or listening for many."""

    def __init__(self, sock: socket.socket, state: str = "unbound") -> None:
        self._sock = sock
        self._state = state
        self._backlog = DEFAULT_BACKLOG

    def drop(self) -> None:
        """Close it; streams of its connection live on."""
        self._sock.close()

    # --- bind, connect, listen, accept: each in two steps, so that a guest could wait in between

    @socket_errors
    def start_bind(self, _network: Network, address: SocketAddress) -> None:
        """Bind to a local address."""
        self._require("unbound")
        self._require_family(address)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as WASI says of restarts
        self._sock.bind(to_kernel(address))
        self._state = "bind-started"

    def finish_bind(self) -> None:
        """End binding."""
        self._finish("bind-started", "bound")

    @socket_errors
    def start_connect(self, _network: Network, address: SocketAddress) -> None:
        """Begin to connect."""
        if self._state not in ("unbound", "bound"):
            raise Err("invalid-state")
        self._require_family(address)
        if is_any(address) or address[1][0] == 0:
            raise Err("invalid-argument")
        result = self._sock.connect_ex(to_kernel(address))
        if result not in (0, errno.EINPROGRESS):
            self._state = "closed"
            raise OSError(result, os.strerror(result))
        self._state = "connecting"

    @socket_errors
    def finish_connect(self) -> tuple[SocketInput, SocketOutput]:
        """Give the connection's streams once it stands."""
        if self._state != "connecting":
            raise Err("not-in-progress")
        if not Pollable(self._sock.fileno(), select.POLLOUT).ready():
            raise Err("would-block")
        result = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            self._state = "closed"
            raise OSError(result, os.strerror(result))
        self._state = "connected"
        return self._streams(self._sock)

    @socket_errors
    def start_listen(self) -> None:
        """Begin to listen."""
        self._require("bound")
        self._sock.listen(self._backlog)
        self._state = "listen-started"

    def finish_listen(self) -> None:
        """End beginning to listen."""
        self._finish("listen-started", "listening")

    @socket_errors
    def accept(self) -> tuple[TcpSocket, SocketInput, SocketOutput]:
        """Give the next connection."""
        self._require("listening")
        sock, _ = self._sock.accept()
        sock.setblocking(False)
        return TcpSocket(sock, "connected"), *self._streams(sock)

    @socket_errors
    def shutdown(self, what: str) -> None:
        """End receiving, sending or both."""
        self._require("connected")
        how = {"receive": socket.SHUT_RD, "send": socket.SHUT_WR, "both": socket.SHUT_RDWR}
        self._sock.shutdown(how[what])

    def subscribe(self) -> Pollable:
        """Be ready when the next of the steps above can end."""
        events = {"connecting": select.POLLOUT, "listening": select.POLLIN}.get(self._state)
        return Pollable(self._sock.fileno(), events) if events else Pollable()

    # --- what it is

    @socket_errors
    def local_address(self) -> SocketAddress:
        """Give its own address."""
        if self._state == "unbound":
            raise Err("invalid-state")
        return from_kernel(self._sock.getsockname())

    @socket_errors
    def remote_address(self) -> SocketAddress:
        """Give its peer's."""
        self._require("connected")
        return from_kernel(self._sock.getpeername())

    def is_listening(self) -> bool:
        """Say whether it listens."""
        return self._state == "listening"

    def address_family(self) -> str:
        """Give its family."""
        return family_of(self._sock)

    # --- options

    @socket_errors
    def set_listen_backlog_size(self, value: int) -> None:
        """Set how many connections may wait to be accepted."""
        if not value:
            raise Err("invalid-argument")
        if self._state in ("connecting", "connected"):
            raise Err("invalid-state")
        self._backlog = min(value, 0x7FFFFFFF)
        if self._state == "listening":
            self._sock.listen(self._backlog)

    def keep_alive_enabled(self) -> bool:
        """Say whether keep-alive probes are sent."""
        return bool(self._get(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def set_keep_alive_enabled(self, value: bool) -> None:
        """Send keep-alive probes or not."""
        self._set(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(value), lowest=0)

    def keep_alive_idle_time(self) -> int:
        """Give the nanoseconds of silence before probes."""
        return self._get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) * NANO

    def set_keep_alive_idle_time(self, value: int) -> None:
        """Set the silence before probes."""
        self._set(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _seconds(value), highest=32767)

    def keep_alive_interval(self) -> int:
        """Give the nanoseconds between probes."""
        return self._get(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * NANO

    def set_keep_alive_interval(self, value: int) -> None:
        """Set the time between probes."""
        self._set(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _seconds(value), highest=32767)

    def keep_alive_count(self) -> int:
        """Give the number of unanswered probes that end a connection."""
        return self._get(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)

    def set_keep_alive_count(self, value: int) -> None:
        """Set the number of unanswered probes that end a connection."""
        self._set(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, value, highest=127)

    def hop_limit(self) -> int:
        """Give the hop limit."""
        return self._get(*hop_limit_option(self._sock))

    def set_hop_limit(self, value: int) -> None:
        """Set the hop limit."""
        self._set(*hop_limit_option(self._sock), value)

    def receive_buffer_size(self) -> int:
        """Give the receive buffer's size."""
        return self._get(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def set_receive_buffer_size(self, value: int) -> None:
        """Set the receive buffer's size."""
        self._set(socket.SOL_SOCKET, socket.SO_RCVBUF, value, highest=0x3FFFFFFF)

    def send_buffer_size(self) -> int:
        """Give the send buffer's size."""
        return self._get(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2

    def set_send_buffer_size(self, value: int) -> None:
        """Set the send buffer's size."""
        self._set(socket.SOL_SOCKET, socket.SO_SNDBUF, value, highest=0x3FFFFFFF)

    # ---

    def _streams(self, sock: socket.socket) -> tuple[SocketInput, SocketOutput]:
        return SocketInput(sock.dup()), SocketOutput(sock.dup())

    def _require(self, state: str) -> None:
        if self._state != state:
            raise Err("invalid-state")

    def _require_family(self, address: SocketAddress) -> None:
        if not matches(address, self._sock):
            raise Err("invalid-argument")

    def _finish(self, from_state: str, to_state: str) -> None:
        if self._state != from_state:
            raise Err("not-in-progress")
        self._state = to_state

    @socket_errors
    def _get(self, level: int, option: int) -> int:
        return self._sock.getsockopt(level, option)

    def _set(self, level: int, option: int, value: int, *, lowest: int = 1, highest: int = 255) -> None:
        set_option(self._sock, level, option, value, lowest=lowest, highest=highest)


def set_option(
    sock: socket.socket, level: int, option: int, value: int, *, lowest: int = 1, highest: int = 255
) -> None:
    """Set a socket's option, at most to what the kernel takes. Raises Err."""
    if value < lowest:
        raise Err("invalid-argument")
    try:
        sock.setsockopt(level, option, min(value, highest))
    except OSError as error:
        raise Err(error_code(error)) from error


def hop_limit_option(sock: socket.socket) -> tuple[int, int]:
    """Give the level and option that hold the hop limit of the socket's family."""
    if sock.family == socket.AF_INET:
        return socket.IPPROTO_IP, socket.IP_TTL
    return socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS


def _seconds(nanoseconds: int) -> int:
    """Round up: zero stays zero, which is refused."""
    return -(-nanoseconds // NANO)


@tcp_create_socket.function("create-tcp-socket")
def create_tcp_socket(guest: Guest, family: str) -> TcpSocket:
    """Make a socket."""
    return TcpSocket(new_socket(guest, family, socket.SOCK_STREAM))
