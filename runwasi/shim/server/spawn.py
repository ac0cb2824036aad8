"""Turns the launcher's child into the pod's server.

The server runs a private, read-only copy of the interpreter's mount. Every fork of it has that copy as
/proc/PID/exe, so a container cannot write to the host's interpreter through the link (CVE-2019-5736). It costs
a second start of Python.
"""

from __future__ import annotations

import os
import sys
from struct import pack

from runwasi.startup import installation
from runwasi.startup.bare_call import bare_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Engine
    from runwasi.shim.flags import Flags

_SYS_OPEN_TREE, _SYS_MOUNT_SETATTR = 428, 442  # the same on every architecture
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _MOUNT_ATTR_RDONLY = 1, 1

LISTENER = 3
"""The descriptor on which the server finds its listening socket."""

_CODE = """\
import gc, sys
gc.disable()  # importing makes no garbage; the server turns it on again
sys.path[:] = {path!r}
try:
{load}except Exception as error:
{otherwise}    raise
{function}({engine})"""


def server(flags: Flags, engine: str | Engine, listener: int) -> None:
    """Fork a pod's server, which already listens. Raises OSError if that fails."""
    if flags.shim_cgroup:
        join_cgroup(flags.shim_cgroup)  # we end soon; in the fork, a failure would not be reported
    pid = os.fork()
    if pid:
        os.close(listener)
        return
    try:
        os.setsid()
        arrange_descriptors(flags.bundle, listener)
        execute(command("runwasi.shim.server.pod_server", "main", engine, flags.arguments()))
    except BaseException as error:  # noqa: BLE001  nothing of the launcher may run on in its child
        os.write(2, f"cannot start the shim's server: {error!r}\n".encode(errors="replace"))
    finally:
        os._exit(1)


def execute(arguments: list[str]) -> None:
    """Replace this process by the interpreter, from a read-only clone of its mount if the kernel supports that.

    Source: man 2 open_tree, man 2 mount_setattr (Linux 5.12), man 2 execveat.
    """
    interpreter = os.path.realpath(sys.executable)
    tree = _read_only_clone(interpreter)
    os.execve(interpreter if tree is None else tree, [sys.executable, *arguments], os.environ)


def _read_only_clone(path: str) -> int | None:
    """Return a descriptor of a read-only copy of path's mount, or None where the kernel makes none.

    runwasi.linux.mount_fds does the same; this spares a pod's first request the millisecond that it takes to
    import.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = bare_call("syscall", _SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)
    if tree < 0:
        return None
    attributes = pack("=4Q", _MOUNT_ATTR_RDONLY, 0, 0, 0)  # struct mount_attr
    path_and_flags = b"", _AT_EMPTY_PATH
    result = bare_call("syscall", _SYS_MOUNT_SETATTR, tree, *path_and_flags, attributes, len(attributes))
    return tree if result == 0 else None


def command(
    module: str, function: str, engine: str | Engine, arguments: list[str], otherwise: str = ""
) -> list[str]:
    """Return the interpreter's arguments to call a function of ours with the engine.

    The arguments after the code look like a shim's own in ps. otherwise is Python text for when the function cannot
    be imported because of `error`.
    """
    from runwasi.startup.packs import prelude_of  # late: a shim's delete starts nothing

    load = f"{prelude_of('server')}{installation.hand_over()}from {module} import {function}\n"
    code = _CODE.format(
        path=sys.path,
        load=_indented(load),
        otherwise=_indented(otherwise),
        function=function,
        engine=_engine_expression(engine),
    )
    return ["-I", "-S", "-c", code, *arguments]


def _indented(text: str) -> str:
    return "".join(f"    {line}" for line in text.splitlines(keepends=True))


def _engine_expression(engine: str | Engine) -> str:
    """Return Python text that makes the engine again in the server."""
    if isinstance(engine, str):
        return repr(engine)
    kind = type(engine)
    return f"getattr(__import__({kind.__module__!r}, fromlist=['_']), {kind.__qualname__!r})()"


def arrange_descriptors(bundle: str, listener: int) -> None:
    """Put listener and log where the server expects them; leave nothing of containerd's open."""
    installation.lift(max(listener, LISTENER) + 1)
    arrange_streams(bundle)
    if listener != LISTENER:
        os.dup2(listener, LISTENER)
    os.set_inheritable(LISTENER, True)
    os.closerange(LISTENER + 1, listener + 1)


def arrange_streams(bundle: str) -> None:
    """Put the bundle's log where the server expects it, and nothing on stdin and stdout."""
    from runwasi.shim.server.log import open_log

    log = open_log(f"{bundle}/log")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)


def join_cgroup(path: str) -> None:
    """Move to the operator's cgroup for shims, in every hierarchy that has it. Raises OSError if none has."""
    from runwasi.linux import cgroups  # late: only with the ShimCgroup option

    cgroups.join_existing(path)
