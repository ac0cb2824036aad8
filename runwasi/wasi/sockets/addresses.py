"""wasi:sockets/network: converts addresses and errors between WIT's form and the kernel's."""

from __future__ import annotations

import errno
import socket

from runwasi.wasi.component.interface import Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.streams import IoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from runwasi.wasi.component.guest import Guest

    F = TypeVar("F", bound=Callable[..., Any])
    SocketAddress = tuple[str, tuple[Any, ...]]
    """WIT's ip-socket-address: ("ipv4", (port, address)) or ("ipv6", (port, flow, address, scope))."""
    IpAddress = tuple[str, tuple[int, ...]]
    """WIT's ip-address: four bytes or eight 16-bit groups."""

network = Interface("wasi:sockets/network")
instance_network = Interface("wasi:sockets/instance-network")

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_NAMES = {number: name for name, number in FAMILIES.items()}

_ERRORS = {
    errno.EACCES: "access-denied", errno.EPERM: "access-denied", errno.ENOTSUP: "not-supported",
    errno.EAFNOSUPPORT: "not-supported", errno.EPROTONOSUPPORT: "not-supported",
    errno.ENOPROTOOPT: "not-supported", errno.EINVAL: "invalid-argument", errno.ENOMEM: "out-of-memory",
    errno.ENOBUFS: "out-of-memory", errno.ETIMEDOUT: "timeout", errno.EALREADY: "concurrency-conflict",
    errno.EAGAIN: "would-block", errno.EINPROGRESS: "would-block", errno.EISCONN: "invalid-state",
    errno.ENOTCONN: "invalid-state", errno.EDESTADDRREQ: "invalid-argument",
    errno.EMFILE: "new-socket-limit", errno.ENFILE: "new-socket-limit",
    errno.EADDRNOTAVAIL: "address-not-bindable", errno.EADDRINUSE: "address-in-use",
    errno.EHOSTUNREACH: "remote-unreachable", errno.ENETUNREACH: "remote-unreachable",
    errno.EHOSTDOWN: "remote-unreachable", errno.ENETDOWN: "remote-unreachable",
    errno.ECONNREFUSED: "connection-refused", errno.ECONNRESET: "connection-reset",
    errno.EPIPE: "connection-reset", errno.ECONNABORTED: "connection-aborted",
    errno.EMSGSIZE: "datagram-too-large",
}  # fmt: skip


@network.resource("network")
class Network(Resource):
    """The right to use the container's network."""


@instance_network.function("instance-network")
def get_network(_guest: Guest) -> Network:
    """Return the container's network; if it is switched off, sockets cannot be made."""
    return Network()


@network.function("network-error-code")
def network_error_code(_guest: Guest, error: IoError) -> str | None:
    """Return the error-code of a stream's error, None if it was no socket error."""
    return error_code(error.cause) if isinstance(error.cause, OSError) else None


def error_code(error: OSError) -> str:
    """Return WIT's name of an errno."""
    return _ERRORS.get(error.errno or 0, "unknown")


def socket_errors(method: F) -> F:
    """Turn a method's OSError into the error-code that its caller gets."""

    def wrapper(*args: Any) -> Any:
        try:
            return method(*args)
        except OSError as error:
            raise Err(error_code(error)) from error
        except OverflowError as error:  # WASI's flow labels have 32 bits, the kernel's 20
            raise Err("invalid-argument") from error

    wrapper.__name__, wrapper.__doc__ = method.__name__, method.__doc__
    return wrapper  # type: ignore[return-value]  # it takes and returns what the method does


def new_socket(guest: Guest, family: str, kind: int) -> socket.socket:
    """Make a non-blocking socket. Raises Err, access-denied if the network is switched off."""
    if not guest.world.network:
        raise Err("access-denied")
    try:
        sock = socket.socket(FAMILIES[family], kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if family == "ipv6":  # in WASI a socket has one address family
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except OSError as error:
        raise Err(error_code(error)) from error
    return sock


def family_of(sock: socket.socket) -> str:
    """Return WIT's name of a socket's family."""
    return _NAMES[socket.AddressFamily(sock.family)]


def to_kernel(address: SocketAddress) -> tuple[Any, ...]:
    """Convert an address to the form that `socket` takes."""
    family, fields = address
    if family == "ipv4":
        port, octets = fields
        return socket.inet_ntoa(bytes(octets)), port
    port, flow, groups, scope = fields
    packed = b"".join(group.to_bytes(2, "big") for group in groups)
    return socket.inet_ntop(socket.AF_INET6, packed), port, flow, scope


def from_kernel(address: tuple[Any, ...]) -> SocketAddress:
    """Convert an address from `socket` to WIT's form."""
    host, port, *rest = address
    family, parts = ip_address(host)
    return (family, (port, parts)) if family == "ipv4" else (family, (port, rest[0], parts, rest[1]))


def ip_address(host: str) -> IpAddress:
    """Convert a numeric host to WIT's form."""
    if ":" not in host:
        return "ipv4", tuple(socket.inet_aton(host))
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return "ipv6", tuple(int.from_bytes(packed[at : at + 2], "big") for at in range(0, 16, 2))


def matches(address: SocketAddress, sock: socket.socket) -> bool:
    """Return whether an address has the socket's family; an IPv4-mapped IPv6 address has none."""
    family, fields = address
    if family != family_of(sock):
        return False
    return family == "ipv4" or fields[2][:6] != (0, 0, 0, 0, 0, 0xFFFF)


def is_any(address: SocketAddress) -> bool:
    """Return whether an address is 0.0.0.0 or ::."""
    family, fields = address
    return not any(fields[1] if family == "ipv4" else fields[2])
