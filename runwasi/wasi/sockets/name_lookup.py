"""wasi:sockets/ip-name-lookup through the container's own resolver: its hosts file, its resolv.conf.

A lookup can take seconds, so it has its own thread, which reports through a pipe when it is done.
"""

from __future__ import annotations

import _thread  # threading would cost 0.4 MiB in every process forked after its import
import errno
import os
import select
import socket

from runwasi.linux.fd import Fd
from runwasi.wasi.component.interface import Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.poll import Pollable
from runwasi.wasi.sockets.addresses import Network, ip_address

ip_name_lookup = Interface("wasi:sockets/ip-name-lookup")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.sockets.addresses import IpAddress

_ERRORS = {
    socket.EAI_NONAME: "name-unresolvable",
    socket.EAI_NODATA: "name-unresolvable",
    socket.EAI_AGAIN: "temporary-resolver-failure",
}

_MAX_NAME = 253  # RFC 1035, 2.3.4
_STACK = 512 << 10


@ip_name_lookup.resource("resolve-address-stream")
class Lookup(Resource):
    """The addresses of a name, once they are known, one per call."""

    def __init__(self, name: str) -> None:
        """Begin to look up a name that `host_name` returned. Raises OSError."""
        self._addresses: list[IpAddress] = []
        self._error: str | None = None
        waiting, done = os.pipe2(os.O_CLOEXEC)
        before = _thread.stack_size(_STACK)
        try:
            _thread.start_new_thread(self._resolve, (name, done))
        except RuntimeError:
            os.close(waiting)
            os.close(done)
            raise OSError(errno.EAGAIN, "no more threads can be started") from None
        finally:
            _thread.stack_size(before)
        self._done = Fd(waiting)

    def _resolve(self, name: str, done: int) -> None:
        try:
            # bytes: for a str Python would import its codec "idna", which the container lacks
            found = socket.getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
            hosts = dict.fromkeys(str(address[0]) for *_, address in found)
            self._addresses = [ip_address(host) for host in reversed(hosts)]
        except (OSError, ValueError) as error:
            self._error = _ERRORS.get(getattr(error, "errno", None) or 0, "permanent-resolver-failure")
        finally:
            os.close(done)

    def resolve_next_address(self) -> IpAddress | None:
        """Return the next address, None after the last."""
        if not self.subscribe().ready():
            raise Err("would-block")
        if self._error is not None:
            raise Err(self._error)
        return self._addresses.pop() if self._addresses else None

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when the resolver has answered."""
        return Pollable(self._done, select.POLLIN)

    def drop(self) -> None:
        """Close the pipe; a resolver that is still running ends by itself."""
        self._done.close()


def host_name(text: str) -> str:
    """Return a name as the resolver takes it. Raises ValueError."""
    name = text.removeprefix("[").removesuffix("]")
    if len(name) > _MAX_NAME:
        raise ValueError("the name is too long")
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except LookupError:  # there is no such codec in a container
            raise ValueError("the name is not in ASCII") from None
    if not 0 < len(name) <= _MAX_NAME or "\0" in name:
        raise ValueError("the name is empty, too long, or has a NUL")
    return name


@ip_name_lookup.function("resolve-addresses")
def resolve_addresses(guest: Guest, _network: Network, name: str) -> Lookup:
    """Begin to look up a name, which may be a numeric address."""
    if not guest.world.network:
        raise Err("access-denied")
    try:
        return Lookup(host_name(name))
    except ValueError:
        raise Err("invalid-argument") from None
    except OSError:
        raise Err("out-of-memory") from None
