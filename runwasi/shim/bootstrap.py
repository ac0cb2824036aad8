"""Reads containerd's request on stdin of `start`, and makes the answer to print."""

from __future__ import annotations

import os

from runwasi.linux.fd import write_all
from runwasi.shim import pod_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.shim.flags import Flags

_DEBUG_LEVEL = -4


class Bootstrap:
    """The request on stdin of `start`: before containerd 2.3 only the runtime's options."""

    def __init__(self) -> None:
        self.valid = False
        self.socket_dir = self.ttrpc_address = self.shim_cgroup = ""
        self.log_level = 0

    @classmethod
    def read(cls, data: bytes, flags: Flags) -> Bootstrap:
        """Parse stdin. Bare options also parse as BootstrapParams, so those must name this container."""
        bootstrap = cls()
        if data:
            bootstrap._read(data, flags)
        return bootstrap

    def answer(self, address: str) -> bytes:
        """Return what to print: a plain address means version 2, which every containerd understands."""
        if not self.valid:
            return address.encode()
        from runwasi.wire.messages.bootstrap import BootstrapResult

        return BootstrapResult(version=3, address=address, protocol="ttrpc").encode()

    def complete(self, flags: Flags, bundle: str, environment: Mapping[str, str]) -> None:
        """Complete the flags of a start for its pod's server."""
        flags.group = pod_socket.group_of(bundle, flags.id)
        flags.bundle = bundle
        flags.socket = pod_socket.socket_path(flags.address, flags.namespace, flags.group, self.socket_dir)
        flags.ttrpc_address = environment.get("TTRPC_ADDRESS", self.ttrpc_address)
        flags.debug = flags.debug or self.log_level <= _DEBUG_LEVEL
        flags.shim_cgroup = self.shim_cgroup

    def _read(self, data: bytes, flags: Flags) -> None:
        from runwasi.shim.services.calls.runtime_options import shim_cgroup  # late: few starts have options
        from runwasi.wire.codec import WireError
        from runwasi.wire.messages.bootstrap import BootstrapParams
        from runwasi.wire.messages.well_known import Any

        try:
            params = BootstrapParams.decode(data)
        except WireError:
            params = BootstrapParams()
        try:
            options = [Any.decode(data)]
        except WireError:
            options = []
        if params.instance_id == flags.id and params.namespace == flags.namespace:
            self.valid = True
            self.socket_dir = params.socket_dir
            self.ttrpc_address = params.containerd_ttrpc_address
            self.log_level = params.log_level
            options = [extension.value for extension in params.extensions if extension.value is not None]
        self.shim_cgroup = next(filter(None, map(shim_cgroup, options)), "")


def location(flags: Flags) -> str:
    """Return where the pod's server listens, as containerd writes addresses."""
    return f"unix://{flags.socket}"


def write_address_file(bundle: str, address: str) -> None:
    """Write the address to the bundle, where containerd 1.6 and 1.7 look for it after a restart."""
    temporary = f"{bundle}/.address"
    with open(temporary, "wb", 0) as file:
        write_all(file.fileno(), address.encode(), f"{bundle}/address")
    os.rename(temporary, f"{bundle}/address")


def take_back(flags: Flags, listener: int | None) -> None:
    """Remove what a start made before it failed: its address file, and its pod's socket if it listens on that."""
    made = [f"{flags.bundle}/.address", f"{flags.bundle}/address"]
    if listener is not None:
        made.append(flags.socket)
    for path in made:
        try:
            os.unlink(path)
        except OSError:
            pass  # it is not there, or cannot be helped: the start's own error counts
