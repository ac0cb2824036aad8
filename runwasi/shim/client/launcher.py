"""Does what containerd runs a shim for: `start` a pod's server, `delete` what a dead one left, `-v` and `-info`.

It runs for milliseconds, twice per container, so it imports only what the action needs. containerd takes
everything on stdout and stderr of `start` as the address, and waits until both are closed.
Source: containerd core/runtime/v2/README.md.
"""

from __future__ import annotations

import os
import sys

from runwasi.linux.standard_streams import open_missing
from runwasi.shim.flags import Flags, UsageError
from runwasi.startup import installation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.engines.engine import Engine

_MAX_STDIN = 10 << 20


def main(engine: str | Engine, *, shared: bool = False) -> NoReturn:
    """Run the shim of an engine, given by name or as an object, with the arguments of this process.

    With shared its runtime name is that of shared mode; without the node daemon, a pod still has its own server,
    as in normal mode. Ends the process. A launcher puts the packages' folder on sys.path and
    calls `main("wasmtime")`.
    """
    open_missing()
    status = run(os.path.basename(sys.argv[0]), sys.argv[1:], engine, shared)
    installation.leave()
    os._exit(status)  # without tearing the interpreter down: containerd would wait 3 ms for that


def run(program: str, arguments: list[str], engine: str | Engine, shared: bool) -> int:
    """Carry out the arguments with this process's streams, folder and environment; return the exit status."""
    try:
        flags = Flags.parse(arguments)
        return _run(program, flags, engine, shared)
    except Exception as error:
        if not is_expected(error):
            raise
        complain(program, error)
        return 1


def is_expected(error: BaseException) -> bool:
    """Return whether an error is the user's or the machine's, and not a fault of ours."""
    from runwasi.shim.server import (
        codes,  # late: only for an error
    )

    return isinstance(error, Exception) and (isinstance(error, ValueError) or codes.is_expected(error))


def complaint(program: str, error: BaseException) -> bytes:
    """Return the text that a failing shim writes to stderr."""
    return f"{program}: {_text(error)}\n".encode(errors="backslashreplace")


def complain(program: str, error: BaseException) -> None:
    """Write an error to standard error."""
    try:
        os.write(2, complaint(program, error))
    except OSError:
        pass  # nobody hears it


def _run(program: str, flags: Flags, engine: str | Engine, shared: bool) -> int:
    if flags.h or flags.help:
        from runwasi.shim.client.usage_text import shim_help

        return print_output(shim_help(program).encode())
    if flags.v or flags.version:
        return print_version(program)
    if flags.info:
        from runwasi.shim.client.info import runtime_info

        return print_output(runtime_info(engine_name(engine), shared, read_stdin()))
    flags.check_namespace()
    if flags.action == "start":
        if installation.is_uninstalled():
            raise UsageError(
                "runwasi was uninstalled: this program only cleans up behind the pods from before"
            )
        return _start(flags, engine)
    if flags.action == "delete":
        from runwasi.shim.client.cleanup import delete

        return print_output(delete(flags, engine_name(engine)))
    raise UsageError(f"unknown action {flags.action!r}: expected start or delete")


def _start(flags: Flags, engine: str | Engine) -> int:
    from runwasi.shim import bootstrap

    asked = bootstrap.Bootstrap.read(read_stdin(), flags)
    asked.complete(flags, os.getcwd(), os.environ)
    location = bootstrap.location(flags)
    _serve(flags, engine, location)
    status = print_output(asked.answer(location))

    from runwasi.shim.daemon.leave_behind import leave_behind

    leave_behind(engine)
    return status


def _serve(flags: Flags, engine: str | Engine, location: str) -> None:
    """Let the pod's running server serve the container, or start one, and write down where it is."""
    from runwasi.shim import bootstrap, pod_socket

    listener = pod_socket.listen_or_find(flags.socket)
    try:
        bootstrap.write_address_file(flags.bundle, location)
        if listener is not None:
            from runwasi.shim.server import spawn

            spawn.server(flags, engine, listener)
    except BaseException:
        bootstrap.take_back(flags, listener)
        raise


def read_stdin() -> bytes:
    """Read stdin to its end; return nothing if it cannot be read."""
    data = bytearray()
    while len(data) < _MAX_STDIN:
        try:
            part = os.read(0, 64 << 10)
        except OSError:
            break  # it is open for writing only, or a folder
        if not part:
            break
        data += part
    return bytes(data)


def print_version(program: str) -> int:
    """Print the versions of a program and of Python, as containerd's own shims do; return the exit status."""
    return print_output(version_text(program))


def version_text(program: str) -> bytes:
    """Return the output of -v."""
    from runwasi import __version__

    python = sys.version.split()[0]
    return f"{program}:\n  Version:  {__version__}\n  Python:   {python}\n".encode()


def engine_name(engine: str | Engine) -> str:
    """Return the name of an engine that may be given by name."""
    return engine if isinstance(engine, str) else engine.name


def print_output(data: bytes) -> int:
    """Print data unchanged; return the exit status. Raises OSError."""
    while data:
        data = data[os.write(1, data) :]
    return 0


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
