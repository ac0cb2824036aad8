"""checkpoint and restore: save a container and bring it back, with runc's options; CRIU does the work."""

from __future__ import annotations

import os
from fcntl import F_GETFL, fcntl

from runwasi.cli import notify
from runwasi.cli.attach import follow
from runwasi.cli.bundles import (
    BUNDLE_OPTIONS,
    CONSOLE_SOCKET,
    DETACH,
    PID_FILE,
    absolute,
    check_terminal,
    load_bundle,
    open_console_socket,
)
from runwasi.cli.command import Command
from runwasi.cli.console_relay import ConsoleRelay
from runwasi.cli.options import FLAG, LIST, NUMBER, Option, UsageError
from runwasi.cli.signal_forwarding import Caught
from runwasi.executor.criu.checkpoint import CheckpointOptions, checkpoint
from runwasi.executor.criu.criu_service import CGROUPS_MODES
from runwasi.executor.criu.restore import restore
from runwasi.executor.errors import WrongStatus
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.deletion import delete
from runwasi.executor.plan.create_options import CreateOptions
from runwasi.linux.processes import set_child_subreaper
from runwasi.linux.waiting import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.executor.plan.bundle import Bundle

_IMAGE_OPTIONS = (
    Option("image-path", "folder of the checkpoint (default: ./checkpoint)", value="FOLDER"),
    Option("work-path", "folder for CRIU's log and temporary files (default: the image's)", value="FOLDER"),
    Option("tcp-established", "allow open TCP connections", kind=FLAG),
    Option("ext-unix-sk", "allow external Unix sockets", kind=FLAG),
    Option("shell-job", "allow a terminal that others also use", kind=FLAG),
    Option("file-locks", "handle file locks", kind=FLAG),
    Option("auto-dedup", "remove memory pages from an image once a later one has them", kind=FLAG),
    Option("lazy-pages", "fetch memory pages when they are first used", kind=FLAG),
    Option(
        "manage-cgroups-mode",
        "cgroups below the container's: soft (default), full, strict or ignore",
        value="MODE",
    ),
    Option(
        "empty-ns",
        "do not save this namespace; only network is possible",
        kind=LIST,
        value="network",
    ),
)


def _images(given: Given, **more: object) -> CheckpointOptions:
    """Return the options that both commands share, and more. Raises UsageError."""
    for namespace in given.list("empty-ns"):
        if namespace != "network":
            raise UsageError(f'namespace "{namespace}" is not supported by --empty-ns, only network')
    mode = given.text("manage-cgroups-mode")
    if mode and mode not in CGROUPS_MODES:
        raise UsageError(f"invalid --manage-cgroups-mode {mode}: one of {', '.join(CGROUPS_MODES)}")
    return CheckpointOptions(
        image_path=absolute(given.text("image-path")) or os.path.join(os.getcwd(), "checkpoint"),
        work_path=absolute(given.text("work-path")),
        tcp_established=given.flag("tcp-established"),
        ext_unix_sk=given.flag("ext-unix-sk"),
        shell_job=given.flag("shell-job"),
        file_locks=given.flag("file-locks"),
        auto_dedup=given.flag("auto-dedup"),
        lazy_pages=given.flag("lazy-pages"),
        cgroups_mode=mode,
        **more,  # type: ignore[arg-type]  # by the names that CheckpointOptions has
    )


# checkpoint


def _checkpoint(given: Given, settings: Settings) -> int:
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    if (status := container.status()) in {"created", "stopped"}:
        raise WrongStatus(f"Container cannot be checkpointed in {status} state")
    options = _images(
        given,
        leave_running=given.flag("leave-running"),
        pre_dump=given.flag("pre-dump"),
        tcp_skip_in_flight=given.flag("tcp-skip-in-flight"),
        link_remap=given.flag("link-remap"),
        page_server=_page_server(given.text("page-server")),
        status_fd=_status_fd(given.number("status-fd")),
        parent_path=given.text("parent-path"),
    )
    checkpoint(container, options)
    if not (options.leave_running or options.pre_dump):
        finish(delete(container, force=True))
        notify.remove(settings.root, container.id)
    return 0


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not port:
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UsageError(f"invalid port number of --page-server: {port}")
    return address.removeprefix("[").removesuffix("]"), int(port)


def _status_fd(fd: int) -> int | None:
    if fd < 0:  # as without the option
        return None
    try:
        flags = fcntl(fd, F_GETFL)
    except OSError as error:
        raise UsageError(f"invalid --status-fd argument {fd}: {error.strerror}") from None
    if not flags & (os.O_WRONLY | os.O_RDWR):
        raise UsageError(f"invalid --status-fd argument {fd}: not writable")
    return fd


# restore


def _restore(given: Given, settings: Settings) -> int:
    bundle = load_bundle(given)
    images = _images(
        given, lsm_profile=given.text("lsm-profile"), lsm_mount_context=given.text("lsm-mount-context")
    )
    detached = given.flag("detach")
    terminal = bundle.process.terminal
    check_terminal(given, terminal=terminal, detached=detached)
    if detached:
        return _detached(given, settings, bundle, images)
    if not given.flag("no-subreaper"):
        set_child_subreaper()
    with Caught() as caught:
        if not terminal:
            return _followed(given, settings, bundle, images, caught, None)
        with ConsoleRelay() as console:
            return _followed(given, settings, bundle, images, caught, console)


def _detached(given: Given, settings: Settings, bundle: Bundle, images: CheckpointOptions) -> int:
    socket = open_console_socket(given)
    try:
        restore(settings.root, given.arguments[0], bundle, _create_options(given, settings, socket), images)
    finally:
        if socket is not None:
            os.close(socket)
    return 0


def _followed(
    given: Given,
    settings: Settings,
    bundle: Bundle,
    images: CheckpointOptions,
    caught: Caught,
    console: ConsoleRelay | None,
) -> int:
    def resuming() -> None:
        caught.pass_on = True

    options = _create_options(given, settings, None if console is None else console.socket)
    container = restore(settings.root, given.arguments[0], bundle, options, images, resuming)
    container.warn = settings.log.warning
    try:
        if console is not None:
            console.connect()
        return follow(container.pid, container.open_pidfd(), caught, console)
    finally:
        finish(delete(container, force=True))


def _create_options(given: Given, settings: Settings, console_socket: int | None) -> CreateOptions:
    return CreateOptions(
        console_socket=console_socket,
        pid_file=absolute(given.text("pid-file")),
        systemd_cgroup=settings.systemd_cgroup,
        rootless=settings.rootless,
    )


_CHECKPOINT_DESCRIPTION = """\
The container stops and is deleted, unless --leave-running is given. A failed
checkpoint changes nothing. The contents of mounts from the host, of a joined
network and of network devices are not saved. WebAssembly cannot be saved."""

_RESTORE_DESCRIPTION = """\
The bundle must be the saved container's. Its root filesystem is used as it is;
mounts from the host, limits and joined namespaces follow its current
config.json. prestart and createRuntime hooks run once the namespaces exist.

Without --detach the exit status is the program's, or 128 + n if signal n ended
it; runwasi forwards signals to it; and with process.terminal your terminal
becomes the container's."""

COMMANDS = {
    "checkpoint": Command(
        "checkpoint",
        "save a running container to files, through criu",
        _checkpoint,
        arguments="ID",
        least=1,
        most=1,
        description=_CHECKPOINT_DESCRIPTION,
        options=(
            *_IMAGE_OPTIONS,
            Option("parent-path", "folder of an earlier --pre-dump, relative to this one's", value="FOLDER"),
            Option("leave-running", "leave the container running", kind=FLAG),
            Option("link-remap", "link deleted but open files again while they are saved", kind=FLAG),
            Option("tcp-skip-in-flight", "skip TCP connections that are not established yet", kind=FLAG),
            Option(
                "page-server",
                "send memory pages there; with --lazy-pages, serve them there",
                value="ADDRESS:PORT",
            ),
            Option("status-fd", "descriptor that reports when lazy pages are ready", kind=NUMBER, default=-1),
            Option("pre-dump", "save only memory, and leave the container running", kind=FLAG),
        ),
    ),
    "restore": Command(
        "restore",
        "bring a container back from a checkpoint",
        _restore,
        arguments="ID",
        least=1,
        most=1,
        description=_RESTORE_DESCRIPTION,
        options=(
            *BUNDLE_OPTIONS,
            CONSOLE_SOCKET,
            *_IMAGE_OPTIONS,
            DETACH,
            PID_FILE,
            Option("lsm-profile", "label of the restored processes, TYPE:NAME", value="PROFILE"),
            Option("lsm-mount-context", "SELinux context of the restored mounts", value="LABEL"),
            Option("no-subreaper", "leave the container's orphans to runwasi's parent", kind=FLAG),
            Option("no-pivot", "accepted for runc's callers; CRIU makes the root", kind=FLAG, hidden=True),
        ),
    ),
}
