"""wasi:sockets/tcp, clients and servers, on sockets of the container's network."""

from __future__ import annotations

import errno
import os
import select
import socket

from runwasi.wasi.component.interface import Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.fd_streams import available
from runwasi.wasi.io.poll import Pollable
from runwasi.wasi.io.streams import CHUNK, InputStream, OutputStream, closed, failed, too_long
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
    """The receiving side of a connection. Each side has its own descriptor; the last one closes the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, length: int) -> bytes:
        """Return bytes that have arrived."""
        return available(lambda: self._sock.recv(min(length, CHUNK))) if length else b""

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when bytes or the end have arrived."""
        return Pollable(self._sock, select.POLLIN)

    def drop(self) -> None:
        """Stop receiving."""
        self._sock.close()


class SocketOutput(OutputStream):
    """The sending side of a connection; up to CHUNK bytes wait here while the peer is slower."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held = b""
        self._failure: OSError | None = None

    def check_write(self) -> int:
        """Return the number of bytes that it can take."""
        self._send()
        return CHUNK - len(self._held)

    def write(self, contents: bytes) -> None:
        """Send, and keep what the socket does not accept."""
        if len(contents) > self.check_write():
            raise too_long()
        self._held += contents
        self._send()

    def flushed(self) -> bool:
        """Return whether the socket has everything."""
        self._send()
        return not self._held

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when the socket accepts more."""
        return Pollable(self._sock, select.POLLOUT)

    def drop(self) -> None:
        """Send as much of the rest as the socket accepts now, then stop sending."""
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
    """A socket in one of its states: unbound, bound, connecting to a peer, or listening."""

    def __init__(self, sock: socket.socket, state: str = "unbound") -> None:
        self._sock = sock
        self._state = state
        self._backlog = DEFAULT_BACKLOG

    def drop(self) -> None:
        """Close it; the streams of its connection stay open."""
        self._sock.close()

    # --- bind, connect, listen, accept: each in two steps, so that a guest can wait in between

    @socket_errors
    def start_bind(self, _network: Network, address: SocketAddress) -> None:
        """Bind to a local address."""
        self._require("unbound")
        self._require_family(address)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as WASI requires, for restarts
        self._sock.bind(to_kernel(address))
        self._state = "bind-started"

    def finish_bind(self) -> None:
        """Finish binding."""
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
        """Return the connection's streams once it is established."""
        if self._state != "connecting":
            raise Err("not-in-progress")
        if not Pollable(self._sock, select.POLLOUT).ready():
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
        """Finish listening."""
        self._finish("listen-started", "listening")

    @socket_errors
    def accept(self) -> tuple[TcpSocket, SocketInput, SocketOutput]:
        """Accept the next connection."""
        self._require("listening")
        sock, _ = self._sock.accept()
        sock.setblocking(False)
        return TcpSocket(sock, "connected"), *self._streams(sock)

    @socket_errors
    def shutdown(self, what: str) -> None:
        """Stop receiving, sending or both."""
        self._require("connected")
        how = {"receive": socket.SHUT_RD, "send": socket.SHUT_WR, "both": socket.SHUT_RDWR}
        self._sock.shutdown(how[what])

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when the pending step can finish."""
        events = {"connecting": select.POLLOUT, "listening": select.POLLIN}.get(self._state)
        return Pollable(self._sock, events) if events else Pollable()

    # --- properties

    @socket_errors
    def local_address(self) -> SocketAddress:
        """Return its own address."""
        if self._state == "unbound":
            raise Err("invalid-state")
        return from_kernel(self._sock.getsockname())

    @socket_errors
    def remote_address(self) -> SocketAddress:
        """Return its peer's address."""
        self._require("connected")
        return from_kernel(self._sock.getpeername())

    def is_listening(self) -> bool:
        """Return whether it listens."""
        return self._state == "listening"

    def address_family(self) -> str:
        """Return its family."""
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
        """Return whether keep-alive probes are sent."""
        return bool(self._get(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def set_keep_alive_enabled(self, value: bool) -> None:
        """Turn keep-alive probes on or off."""
        self._set(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(value), lowest=0)

    def keep_alive_idle_time(self) -> int:
        """Return the idle time before probes, in nanoseconds."""
        return self._get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) * NANO

    def set_keep_alive_idle_time(self, value: int) -> None:
        """Set the idle time before probes, in nanoseconds."""
        self._set(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _seconds(value), highest=32767)

    def keep_alive_interval(self) -> int:
        """Return the nanoseconds between probes."""
        return self._get(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * NANO

    def set_keep_alive_interval(self, value: int) -> None:
        """Set the nanoseconds between probes."""
        self._set(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _seconds(value), highest=32767)

    def keep_alive_count(self) -> int:
        """Return the number of unanswered probes that end a connection."""
        return self._get(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)

    def set_keep_alive_count(self, value: int) -> None:
        """Set the number of unanswered probes that end a connection."""
        self._set(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, value, highest=127)

    def hop_limit(self) -> int:
        """Return the hop limit."""
        return self._get(*hop_limit_option(self._sock))

    def set_hop_limit(self, value: int) -> None:
        """Set the hop limit."""
        self._set(*hop_limit_option(self._sock), value)

    def receive_buffer_size(self) -> int:
        """Return the receive buffer's size."""
        return self._get(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def set_receive_buffer_size(self, value: int) -> None:
        """Set the receive buffer's size."""
        self._set(socket.SOL_SOCKET, socket.SO_RCVBUF, value, highest=0x3FFFFFFF)

    def send_buffer_size(self) -> int:
        """Return the send buffer's size."""
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
    """Set a socket's option, clamped to what the kernel accepts. Raises Err."""
    if value < lowest:
        raise Err("invalid-argument")
    try:
        sock.setsockopt(level, option, min(value, highest))
    except OSError as error:
        raise Err(error_code(error)) from error


def hop_limit_option(sock: socket.socket) -> tuple[int, int]:
    """Return the level and option of the hop limit for the socket's family."""
    if sock.family == socket.AF_INET:
        return socket.IPPROTO_IP, socket.IP_TTL
    return socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS


def _seconds(nanoseconds: int) -> int:
    """Round up to seconds; zero stays zero, which is refused."""
    return -(-nanoseconds // NANO)


@tcp_create_socket.function("create-tcp-socket")
def create_tcp_socket(guest: Guest, family: str) -> TcpSocket:
    """Make a TCP socket."""
    return TcpSocket(new_socket(guest, family, socket.SOCK_STREAM))
