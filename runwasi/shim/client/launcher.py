"""The program containerd runs: `start` a pod's server, `delete` what a dead one left, `-v` and `-info`.

It lives for milliseconds, twice per container, so it imports nothing that the action at hand does not need.
containerd takes everything on stdout and stderr of `start` for the address, and waits until both are closed.
Source: containerd core/runtime/v2/README.md.
"""

from __future__ import annotations

import os
import sys

from runwasi.shim.flags import Flags, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.engines.engine import Engine

_MAX_STDIN = 10 << 20
_DEBUG_LEVEL = -4


def main(engine: str | Engine, *, shared: bool = False) -> NoReturn:
    """Run the shim of an engine, given by name or as an object, with the arguments of this process.

    With shared the pod's server is forked by the engine's node daemon. Ends the process. A launcher puts the
    packages' folder on sys.path and calls `main("wasmtime")`.
    """
    os._exit(
        _status(engine, shared)
    )  # without tearing the interpreter down: containerd would wait 3 ms for that


def _status(engine: str | Engine, shared: bool) -> int:
    try:
        flags = Flags.parse(sys.argv[1:])
        return _run(flags, engine, shared)
    except (UsageError, OSError, ValueError) as error:
        os.write(2, f"{os.path.basename(sys.argv[0])}: {_text(error)}\n".encode())
        return 1


def _run(flags: Flags, engine: str | Engine, shared: bool) -> int:
    if flags.h or flags.help:
        from runwasi.shim.client.usage_text import shim_help

        return _write(shim_help(os.path.basename(sys.argv[0])).encode())
    if flags.v or flags.version:
        return print_version()
    if flags.info:
        from runwasi.shim.client.info import runtime_info

        return _write(runtime_info(engine_name(engine), shared, _read_stdin()))
    if not flags.namespace:
        raise UsageError("shim namespace cannot be empty")
    if flags.action == "start":
        return _start(flags, engine, shared)
    if flags.action == "delete":
        from runwasi.shim.client.cleanup import delete

        return _write(delete(flags, engine_name(engine)))
    raise UsageError(f"unknown action {flags.action!r}: start or delete is wanted")


def _start(flags: Flags, engine: str | Engine, shared: bool) -> int:
    from runwasi.shim import pod_socket

    bootstrap = _bootstrap(flags)
    bundle = os.getcwd()
    group = pod_socket.group_of(bundle, flags.id)
    path = pod_socket.socket_path(flags.address, flags.namespace, group, bootstrap.socket_dir)
    listener = pod_socket.listen_or_find(path)
    if listener >= 0:
        flags.group, flags.bundle, flags.socket = group, bundle, path
        flags.ttrpc_address = os.environ.get("TTRPC_ADDRESS", bootstrap.ttrpc_address)
        flags.debug = flags.debug or bootstrap.log_level <= _DEBUG_LEVEL
        try:
            if shared:
                from runwasi.shim.daemon import handover

                handover.server(flags, engine_name(engine), listener, bootstrap.shim_cgroup)
            else:
                from runwasi.shim.server import spawn

                spawn.server(flags, engine, listener, bootstrap.shim_cgroup)
        except BaseException:
            os.unlink(path)
            raise
    location = f"unix://{path}"
    _write_address_file(location)
    return _write(bootstrap.answer(location))


class Bootstrap:
    """What stdin of `start` says: nothing before containerd 2.3 but the runtime's options."""

    def __init__(self) -> None:
        self.valid = False
        self.socket_dir = self.ttrpc_address = self.shim_cgroup = ""
        self.log_level = 0

    def answer(self, address: str) -> bytes:
        """Return what to print: a plain address means version 2, which every containerd understands."""
        if not self.valid:
            return address.encode()
        from runwasi.wire.messages.bootstrap import BootstrapResult

        return BootstrapResult(version=3, address=address, protocol="ttrpc").encode()


def _bootstrap(flags: Flags) -> Bootstrap:
    """Read stdin. Options alone also parse as BootstrapParams: those must name this very container."""
    bootstrap = Bootstrap()
    data = _read_stdin()
    if not data:
        return bootstrap
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
        bootstrap.valid = True
        bootstrap.socket_dir = params.socket_dir
        bootstrap.ttrpc_address = params.containerd_ttrpc_address
        bootstrap.log_level = params.log_level
        options = [extension.value for extension in params.extensions if extension.value is not None]
    bootstrap.shim_cgroup = next(filter(None, map(_shim_cgroup, options)), "")
    return bootstrap


def _shim_cgroup(options: object) -> str:
    """Return the cgroup that runc's options want the server in, if that is what the Any holds."""
    from runwasi.wire.messages.options import Options
    from runwasi.wire.messages.well_known import Any

    if not isinstance(options, Any) or options.type_url.rpartition("/")[2] != "containerd.runc.v1.Options":
        return ""
    return Options.decode(options.value).shim_cgroup


def _read_stdin() -> bytes:
    data = bytearray()
    while len(data) < _MAX_STDIN:
        try:
            part = os.read(0, 64 << 10)
        except OSError:
            break  # not open, which says nothing either
        if not part:
            break
        data += part
    return bytes(data)


def _write_address_file(address: str) -> None:
    """Leave the address in the bundle, where containerd 1.6 and 1.7 look for it after a restart."""
    with open(".address", "wb", 0) as file:
        file.write(address.encode())
    os.rename(".address", "address")


def print_version() -> int:
    """Print the versions of this program and of Python, as containerd's own shims do; returns the exit status."""
    from runwasi import __version__

    program = os.path.basename(sys.argv[0])
    python = sys.version.split()[0]
    return _write(f"{program}:\n  Version:  {__version__}\n  Python:   {python}\n".encode())


def engine_name(engine: str | Engine) -> str:
    """Return the name of an engine that may be given by name."""
    return engine if isinstance(engine, str) else engine.name


def _write(data: bytes) -> int:
    while data:
        data = data[os.write(1, data) :]
    return 0


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
