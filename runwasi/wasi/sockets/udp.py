"""wasi:sockets/udp, on sockets of the container's network."""

from __future__ import annotations

import errno
import os
import select
import socket

from runwasi.wasi.component.interface import GuestFault, Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.poll import Pollable
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
from runwasi.wasi.sockets.tcp import hop_limit_option, set_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.sockets.addresses import SocketAddress

udp = Interface("wasi:sockets/udp")
udp_create_socket = Interface("wasi:sockets/udp-create-socket")

MAX_DATAGRAM = 65535
BATCH = 16
"""The most datagrams that one call receives or sends."""


@udp.resource("udp-socket")
class UdpSocket(Resource):
    """A socket for datagrams, to and from a single peer or anyone."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._state = "unbound"
        self._peer: SocketAddress | None = None

    def drop(self) -> None:
        """Close it."""
        self._sock.close()

    @socket_errors
    def start_bind(self, _network: Network, address: SocketAddress) -> None:
        """Bind to a local address."""
        if self._state != "unbound":
            raise Err("invalid-state")
        if not matches(address, self._sock):
            raise Err("invalid-argument")
        self._sock.bind(to_kernel(address))
        self._state = "bind-started"

    def finish_bind(self) -> None:
        """Finish binding."""
        if self._state != "bind-started":
            raise Err("not-in-progress")
        self._state = "bound"

    @socket_errors
    def stream(self, peer: SocketAddress | None) -> tuple[Incoming, Outgoing]:
        """Return the receiving and the sending stream, for a single peer or anyone."""
        if self._state == "unbound":  # WASI binds implicitly
            self._sock.bind(("0.0.0.0" if self._sock.family == socket.AF_INET else "::", 0))
            self._state = "bound"
        if self._state != "bound":
            raise Err("invalid-state")
        if peer is not None:
            if not matches(peer, self._sock) or is_any(peer) or not peer[1][0]:
                raise Err("invalid-argument")
            self._sock.connect(to_kernel(peer))
        elif self._peer is not None:
            _disconnect(self._sock)
        self._peer = peer
        return Incoming(self._sock.dup()), Outgoing(self._sock.dup(), peer)

    def subscribe(self) -> Pollable:
        """Return a pollable that is always ready: no step of a UDP socket takes time."""
        return Pollable()

    @socket_errors
    def local_address(self) -> SocketAddress:
        """Return its own address."""
        if self._state == "unbound":
            raise Err("invalid-state")
        return from_kernel(self._sock.getsockname())

    def remote_address(self) -> SocketAddress:
        """Return its peer's address."""
        if self._peer is None:
            raise Err("invalid-state")
        return self._peer

    def address_family(self) -> str:
        """Return its family."""
        return family_of(self._sock)

    @socket_errors
    def unicast_hop_limit(self) -> int:
        """Return the hop limit."""
        return self._sock.getsockopt(*hop_limit_option(self._sock))

    def set_unicast_hop_limit(self, value: int) -> None:
        """Set the hop limit."""
        set_option(self._sock, *hop_limit_option(self._sock), value)

    @socket_errors
    def receive_buffer_size(self) -> int:
        """Return the receive buffer's size."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def set_receive_buffer_size(self, value: int) -> None:
        """Set the receive buffer's size."""
        set_option(self._sock, socket.SOL_SOCKET, socket.SO_RCVBUF, value, highest=0x3FFFFFFF)

    @socket_errors
    def send_buffer_size(self) -> int:
        """Return the send buffer's size."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2

    def set_send_buffer_size(self, value: int) -> None:
        """Set the send buffer's size."""
        set_option(self._sock, socket.SOL_SOCKET, socket.SO_SNDBUF, value, highest=0x3FFFFFFF)


def _disconnect(sock: socket.socket) -> None:
    """Disconnect a socket from its peer, which Python's connect cannot do. Source: man 2 connect."""
    import ctypes  # late: hardly anybody does this

    unspecified = (0).to_bytes(28, "little")  # AF_UNSPEC is 0
    if ctypes.CDLL(None, use_errno=True).connect(sock.fileno(), unspecified, len(unspecified)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@udp.resource("incoming-datagram-stream")
class Incoming(Resource):
    """The datagrams that arrive."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def receive(self, most: int) -> list[tuple[bytes, SocketAddress]]:
        """Return the datagrams that have arrived, with their senders."""
        datagrams: list[tuple[bytes, SocketAddress]] = []
        for _ in range(min(most, BATCH)):
            try:
                data, sender = self._sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                if datagrams:  # the next call tells
                    break
                raise Err(error_code(error)) from error
            datagrams.append((data, from_kernel(sender)))
        return datagrams

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when a datagram has arrived."""
        return Pollable(self._sock, select.POLLIN)

    def drop(self) -> None:
        """Stop receiving."""
        self._sock.close()


@udp.resource("outgoing-datagram-stream")
class Outgoing(Resource):
    """The datagrams to send."""

    def __init__(self, sock: socket.socket, peer: SocketAddress | None) -> None:
        self._sock = sock
        self._peer = peer

    def check_send(self) -> int:
        """Return the number of datagrams that `send` takes now."""
        return BATCH if self.subscribe().ready() else 0

    def send(self, datagrams: Sequence[tuple[bytes, SocketAddress | None]]) -> int:
        """Send datagrams to the peer or to their own addresses; return the number sent."""
        if len(datagrams) > BATCH:
            raise GuestFault("wasi:sockets/udp: more datagrams than check-send allowed")
        for sent, (data, to) in enumerate(datagrams):
            try:
                self._send(data, to)
            except BlockingIOError:
                return sent
            except OSError as error:
                if sent:  # the next call tells
                    return sent
                raise Err(error_code(error)) from error
        return len(datagrams)

    def _send(self, data: bytes, to: SocketAddress | None) -> Any:
        if self._peer is not None:
            if to not in (None, self._peer):
                raise OSError(errno.EINVAL, "the address is not the stream's peer")
            return self._sock.send(data)
        if to is None or not matches(to, self._sock) or is_any(to) or not to[1][0]:
            raise OSError(errno.EINVAL, "the datagram has no address")
        return self._sock.sendto(data, to_kernel(to))

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when the socket accepts more."""
        return Pollable(self._sock, select.POLLOUT)

    def drop(self) -> None:
        """Stop sending."""
        self._sock.close()


@udp_create_socket.function("create-udp-socket")
def create_udp_socket(guest: Guest, family: str) -> UdpSocket:
    """Make a UDP socket."""
    return UdpSocket(new_socket(guest, family, socket.SOCK_DGRAM))
