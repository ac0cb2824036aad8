"""Defines the options that create and run share, and creates a container from them."""

from __future__ import annotations

import os

from runwasi.cli import activation
from runwasi.cli.options import FLAG, NUMBER, Option, UsageError
from runwasi.executor.parent.creation import create
from runwasi.executor.plan.bundle import Bundle
from runwasi.executor.plan.create_options import CreateOptions
from runwasi.linux.capabilities import CAPABILITIES
from runwasi.linux.sockets import connect
from runwasi.linux.waiting import finish
from runwasi.startup import installation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.executor.lifecycle.container import Container
    from runwasi.executor.telemetry.timing import Timing
    from runwasi.oci.process import Capabilities

KINDS = ("bounding", "effective", "inheritable", "permitted", "ambient")
"""The capability sets of a process."""

PID_FILE = Option(
    "pid-file", "file to write the process id to; what is there must be a regular file", value="FILE"
)
CONSOLE_SOCKET = Option(
    "console-socket", "Unix socket that receives the master end of the container's terminal", value="SOCKET"
)
PIDFD_SOCKET = Option("pidfd-socket", "Unix socket that receives a pidfd of the process", value="SOCKET")
PRESERVE_FDS = Option(
    "preserve-fds",
    "pass N more descriptors to the container, after its streams and $LISTEN_FDS",
    kind=NUMBER,
)
DETACH = Option("detach", "do not wait for the process", kind=FLAG, short="d")

BUNDLE_OPTIONS = (
    Option("bundle", "path of the bundle (default: the current folder)", short="b", value="FOLDER"),
    Option(
        "config", "configuration file, relative to the bundle (default: config.json)", short="f", value="FILE"
    ),
)
"""The options of load_bundle."""

CREATE_OPTIONS = (
    *BUNDLE_OPTIONS,
    Option("engine", "engine that runs WebAssembly (default: wasmtime)", default="wasmtime", value="NAME"),
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    Option(
        "no-pivot",
        "change the root by moving its mount instead of pivot_root, for a root on a ramdisk",
        kind=FLAG,
    ),
    Option("no-new-keyring", "keep the caller's session keyring instead of a new one", kind=FLAG),
    PRESERVE_FDS,
    Option("timing", "measure each step of the start, for `runwasi timing ID`", kind=FLAG),
)

CREATE_DESCRIPTION = """\
The bundle is a folder with a config.json and usually a root filesystem. Its
program is process.args of config.json; runwasi inspects the file to see whether
it is native or WebAssembly.

ID is the name of the container on this host. It may contain letters, digits and
_+-., and must differ from the names of all other containers."""


def asked_timing(given: Given) -> Timing | None:
    """Begin to measure this process's start, if the command line asks for it."""
    if not given.flag("timing"):
        return None
    from runwasi.executor.telemetry.timing import Timing  # late: only --timing

    return Timing.of_this_process()


def load_bundle(given: Given) -> Bundle:
    """Load the bundle that a command line names. Raises ContainerError or SpecError."""
    path = given.text("bundle") or os.getcwd()
    config = given.text("config")
    return Bundle.load(path, os.path.join(path, config) if config else "")


def create_container(
    given: Given,
    settings: Settings,
    bundle: Bundle,
    preserved: int,
    *,
    console_socket: int | None = None,
    tied: bool = False,
    timing: Timing | None = None,
) -> Container:
    """Create the container that a command line describes, and pass on `preserved` descriptors."""
    warn_of_capabilities(settings, bundle.process.capabilities)
    options = CreateOptions(
        console_socket=console_socket,
        pid_file=absolute(given.text("pid-file")),
        systemd_cgroup=settings.systemd_cgroup,
        no_cgroup=settings.no_cgroup,
        rootless=settings.rootless,
        no_pivot=given.flag("no-pivot"),
        no_new_keyring=given.flag("no-new-keyring"),
        preserve_fds=preserved,
        engine=given.text("engine"),
        tied=tied,
        timing=timing,
        warn=settings.log.warning,
    )
    container = finish(create(settings.root, given.arguments[0], activation.announced(bundle), options))
    _tell_details(settings, bundle, container)
    if given.text("pidfd-socket"):
        activation.send_pidfd(given.text("pidfd-socket"), container.open_pidfd())
    return container


def _tell_details(settings: Settings, bundle: Bundle, container: Container) -> None:
    """Log the details for --debug."""
    if not settings.log.tells_details:
        return
    settings.log.debug(f"container {container.id} is created, its process is {container.pid}")
    if bundle.spec.linux.seccomp is not None:
        from runwasi.executor.process.seccomp_profile import filter_flags  # late: only --debug
        from runwasi.linux.seccomp_filter import FLAG_TSYNC

        flags = filter_flags(bundle.spec.linux.seccomp) & ~FLAG_TSYNC  # runc's number never contains it
        settings.log.debug(f"seccomp filter flags: {flags}")


def warn_of_capabilities(settings: Settings, wanted: Capabilities | None) -> None:
    """Warn about capabilities that cannot be granted; it is not an error: runtime-spec config.md#linux-process.

    Many releases of `runc spec` write ambient capabilities without the inheritable ones, so those are only logged
    with --debug.
    """
    if wanted is None:
        return
    named = {name for kind in KINDS for name in getattr(wanted, kind)}
    unknown = sorted(named - CAPABILITIES.keys())
    if unknown:
        settings.log.warning(f"ignoring unknown or unavailable capabilities: [{' '.join(unknown)}]")
    for name in wanted.ambient:
        if name not in wanted.permitted or name not in wanted.inheritable:
            why = "it is not both permitted and inheritable"
            settings.log.debug(f"can't raise ambient capability {name}: {why}")


def absolute(path: str) -> str:
    """Return an absolute path, or "" for ""."""
    return os.path.abspath(path) if path else ""


def preserved_fds(given: Given, *, listened: int) -> int:
    """Return the number of descriptors to pass on, starting at 3. Raises UsageError if one is not open.

    Call it before we open any of our own, which would look like the caller's.
    """
    wanted = given.number("preserve-fds")
    if wanted < 0:
        raise UsageError("--preserve-fds must not be negative")
    for fd in range(3 + listened, 3 + listened + wanted):
        if fd in installation.held() or not os.path.exists(f"/proc/self/fd/{fd}"):
            raise UsageError(f"unable to stat preserved-fd {fd - 3 - listened} (of {wanted}): not open")
    installation.lift(3 + listened + wanted)
    return listened + wanted


def check_terminal(given: Given, *, terminal: bool, detached: bool) -> None:
    """Refuse a terminal without a receiver, and a console socket without a terminal."""
    socket = given.text("console-socket")
    if terminal and detached and not socket:
        raise UsageError(
            "cannot allocate tty if runwasi will detach without setting console socket: give --console-socket,"
            " or set process.terminal to false"
        )
    if socket and not (terminal and detached):
        raise UsageError(
            "cannot use console socket if runwasi will not detach or allocate tty: a console socket needs"
            " --detach and process.terminal"
        )


def open_console_socket(given: Given) -> int | None:
    """Connect to the console socket that a command line names; return None if it names none."""
    socket = given.text("console-socket")
    return connect(socket) if socket else None
